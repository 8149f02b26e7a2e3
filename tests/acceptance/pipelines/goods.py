"""Pipelines that keep, name, note and hand over artifacts: for tests of what becomes of values."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd

from penstock import (
    ArtifactConfig,
    Client,
    UnmaterializedArtifact,
    add_tags,
    get_step_context,
    load_artifact,
    log_metadata,
    pipeline,
    save_artifact,
    step,
)


class Plain:
    """Nothing but pickle can keep this."""

    def __init__(self, value: int) -> None:
        self.value = value


@step
def make(
    number: int,
) -> Annotated[list[int], ArtifactConfig(name="numbers", tags=["fresh"], run_metadata={"by": "make"})]:
    get_step_context().add_output_metadata({"length": number})
    return list(range(number))


@step
def double(numbers: list[int]) -> Annotated[list[int], "doubled"]:
    log_metadata({"loss": 0.5, "seen": len(numbers)})
    add_tags("tagged-by-a-step")
    return [2 * number for number in numbers]


@step
def keep(doubled: list[int]) -> str:
    saved = save_artifact(sum(doubled), "total", tags="sum", user_metadata={"unit": "1"})
    return f"{saved.name}@{saved.version}"


@pipeline
def goods(number: int = 3) -> Any:
    doubled = double(make(number))
    return {"doubled": doubled, "kept": keep(doubled)}


@step
def take(artifact: str) -> Any:
    return load_artifact(artifact)


@pipeline
def taking(artifact: str) -> Any:
    return take(artifact)


@step
def hand_over(numbers: UnmaterializedArtifact) -> str:
    configuration = {"steps": {"take": {"parameters": {"artifact": numbers.id}}}}
    run = Client().trigger_pipeline("taking", run_configuration=configuration, synchronous=True)
    return f"{run.state} {run.outputs}"


@pipeline
def handing(number: int = 2) -> Any:
    return hand_over(make(number))


@step
def strange() -> Plain:
    return Plain(3)


@pipeline
def pickled() -> Any:
    return strange()


@step
def rows(frame: pd.DataFrame) -> int:
    return len(frame)


@step
def columns(frame: pd.DataFrame) -> list[str]:
    return [str(one) for one in frame.columns]


@pipeline
def framed(frame: pd.DataFrame, other: pd.DataFrame | None = None) -> Any:
    """Take a table as it is; from outside, as an artifact."""
    more = rows(frame=other) if other is not None else 0
    return {"rows": rows(frame), "columns": columns(frame), "more": more}


@step
def weigh(thing: Plain) -> int:
    return thing.value


@pipeline
def trusting(thing: Plain) -> Any:
    return weigh(thing)
