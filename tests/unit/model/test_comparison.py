"""Two runs side by side."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.model.comparison import Facts, differences
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.run import Failure, Run, RunState, StepRun, StepState

AT = datetime(2026, 3, 1, tzinfo=UTC)


def run(**changes: Any) -> Run:
    made = Run(
        id="r",
        name="one",
        state=RunState.COMPLETED,
        pipeline_id="p",
        pipeline_name="p",
        snapshot_id="s",
        parameters={"rate": 0.1},
        origins={"/parameters/rate": "default"},
        outputs={"score": 0.9, "model": {"artifact": "a1", "type": "sklearn.Model"}},
        created=AT,
        started=AT,
        ended=AT + timedelta(seconds=10),
    )
    return replace(made, **changes)


def step(name: str, **changes: Any) -> StepRun:
    made = StepRun(id=name, run_id="r", step=name, name=name, state=StepState.COMPLETED, created=AT)
    return replace(made, **changes)


def told(before: Facts, after: Facts) -> set[tuple[str, str]]:
    return {(one.topic, one.name) for one in differences(before, after)}


BEFORE = Facts(run(), {"fit": step("fit", inputs={"data": "d1"}, metadata={"loss": 1})}, {"a1": "x", "d1": "y"})


def test_equal_contents_are_no_difference_whatever_the_artifacts_are_called() -> None:
    other = Facts(
        run(id="q", outputs={"score": 0.9, "model": {"artifact": "a2", "type": "sklearn.Model"}}),
        {"fit": step("fit", inputs={"data": "d2"}, metadata={"loss": 1})},
        {"a2": "x", "d2": "y"},
    )
    assert differences(BEFORE, other) == []


def test_each_kind_of_difference_is_told() -> None:
    other = Facts(
        run(
            state=RunState.FAILED,
            error=Failure(type="ValueError", message="no"),
            parameters={"rate": 0.2, "more": 1},
            origins={"/parameters/rate": "request"},
            step_parameters={"fit": {"depth": 3}},
            configuration=PipelineRunConfiguration(timeout=5),
            tags=("t",),
            metadata={"auc": 1},
            outputs=None,
            ended=AT + timedelta(seconds=20),
        ),
        {"fit": step("fit", state=StepState.CACHED, inputs={"data": "d2"}, metadata={"loss": 2}), "new": step("new")},
        {"d2": "z"},
    )
    assert told(BEFORE, other) == {
        ("result", "state"),
        ("result", "error"),
        ("output", "score"),
        ("output", "model"),
        ("parameter", "rate"),
        ("parameter", "more"),
        ("parameter", "fit.depth"),
        ("option", "timeout"),
        ("option", "tags"),
        ("metric", "auc"),
        ("metric", "fit.loss"),
        ("input", "fit.data"),
        ("step", "fit"),
        ("step", "new"),
        ("time", "run"),
    }
    rate = next(one for one in differences(BEFORE, other) if one.name == "rate")
    assert (rate.before, rate.after, rate.note) == (0.1, 0.2, "default -> request")


def test_the_same_value_from_somebody_else_is_told() -> None:
    other = replace(BEFORE, run=run(origins={"/parameters/rate": "preset prod"}))
    (only,) = differences(BEFORE, other)
    assert (only.topic, only.name, only.note) == ("parameter", "rate", "default -> preset prod")


def test_kinds_of_numbers_are_values_of_their_own() -> None:
    for one, other in ((1, True), (1, 1.0), (0, False), (None, 0)):
        before, after = (replace(BEFORE, run=run(parameters={"rate": value})) for value in (one, other))
        assert told(before, after) == {("parameter", "rate")}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=3), st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_a_run_is_like_itself_and_differences_turn_round(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = (replace(BEFORE, run=run(parameters=values, outputs=values)) for values in (one, other))
    assert differences(first, first) == []
    assert told(first, second) == told(second, first)
