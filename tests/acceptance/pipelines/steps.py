"""A pipeline that says which of its steps were carried out, and steps that start other runs."""

from __future__ import annotations

import os
from pathlib import Path

from penstock import pipeline, step
from penstock.client.client import Client


def done(path: str, what: str) -> None:
    with open(path, "a") as file:
        file.write(f"{what}\n")


@step
def load(path: str, n: int) -> list[int]:
    done(path, "load")
    return list(range(n))


@step
def clean(path: str, rows: list[int]) -> list[int]:
    done(path, "clean")
    return rows


@step
def fit(path: str, rows: list[int], rate: float) -> float:
    done(path, "fit")
    if os.path.exists(f"{path}.broken"):
        raise RuntimeError("not today")
    return rate * sum(rows)


@step
def report(path: str, parts: list[object]) -> str:
    done(path, "report")
    return str(parts)


@pipeline
def steps(path: str, n: int = 3, rate: float = 1.0) -> str:
    rows = load(path, n)
    side = clean(path, rows)
    return report(path, [fit(path, rows, rate, after=side), side])


@step
def start(template: str, path: str, depth: int) -> str:
    run = Client().trigger_pipeline(
        template_id=template, run_configuration={"parameters": {"template": template, "path": path, "depth": depth}}
    )
    return run.id


@step
def wait(path: str, depth: int) -> None:
    Path(f"{path}.{depth}").touch()
    while not os.path.exists(f"{path}.go"):
        pass


@pipeline
def parent(template: str, path: str, depth: int = 0) -> None:
    """Starts itself again, until `depth` is 0, and then waits."""
    if depth > 0:
        start(template, path, depth - 1)
    wait(path, depth)


@pipeline
def round_and_round(template: str, path: str, depth: int = 0) -> str:
    """Starts itself with the same values."""
    return start(template, path, depth)
