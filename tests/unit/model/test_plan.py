"""What a plan can tell before a run, and where it says that it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.model.cache import Found
from penstock.model.configuration import CachePolicy, PipelineRunConfiguration, StepConfiguration
from penstock.model.graph import Binding, Graph, Invocation
from penstock.model.inputs import Effective
from penstock.model.plan import Known, PlannedStep, planned
from penstock.model.snapshot import Content, Environment


def foretold(
    described: Any, value: Any, *, policy: CachePolicy | None = None, code: str | None = "c", **binding: Any
) -> tuple[PlannedStep, list[str]]:
    """The verdict on one step that gets the parameter `x`, and the keys that were asked for."""
    source = Binding(**binding) if binding else Binding(kind="parameter", name="x")
    said = StepConfiguration(cache_policy=policy, enable_cache=True)
    step = Invocation(id="s", step="s", source="m:s", code=code, inputs={"a": source}, configuration=said)
    content = Content(
        pipeline="p",
        source="m:p",
        graph=Graph(invocations=(step,)),
        parameter_schema={"type": "object", "properties": {"x": described}},
        environment=Environment(python="3.11"),
    )
    effective = Effective(
        configuration=PipelineRunConfiguration(), parameters={"x": value}, step_parameters={}, origins={}
    )
    asked: list[str] = []

    def ask(step: str, key: str, oldest: float | None) -> Found:
        asked.append(key)
        return Found()

    def artifact(_: str) -> Any:
        raise AssertionError

    (one,) = planned(content, effective, Known(ask, artifact))
    return one, asked


def key(described: Any, value: Any) -> str:
    (only,) = foretold(described, value)[1]
    return only


def test_values_are_taken_as_the_code_will_have_them() -> None:
    number, integer = {"type": "number", "minimum": 0}, {"type": "integer"}
    assert key(number, 1) == key(number, 1.0) != key(integer, 1)
    assert key(integer, 1.0) == key(integer, 1)
    assert key({"anyOf": [number, {"type": "null"}]}, 1) == key(number, 1)
    assert key({"type": "array", "items": number}, [1]) == key({"type": "array", "items": number}, [1.0])
    assert key({"type": "object", "additionalProperties": number}, {"a": 1}) != key({}, {"a": 1})
    assert key({"type": "string"}, "1") != key({}, 1)
    assert key({"type": "boolean"}, True) != key(integer, 1)


@pytest.mark.parametrize(
    ("described", "value"),
    [
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"$ref": "#/$defs/Model"}, {}),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 1),
        ({"type": "object", "properties": {}}, {}),
        ({"type": "array", "items": {"type": "string", "format": "path"}}, ["a"]),
    ],
)
def test_types_that_only_the_code_knows_are_not_guessed(described: Any, value: Any) -> None:
    one, asked = foretold(described, value)
    assert (one.verdict, asked) == ("unknown", [])
    assert "'x'" in one.reason


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (CachePolicy(file_dependencies=("data.csv",)), "file_dependencies"),
        (CachePolicy(source_dependencies=("m",)), "source_dependencies"),
        (CachePolicy(cache_func="m:f"), "cache_func"),
    ],
)
def test_what_only_the_run_can_look_at_is_left_to_it(policy: CachePolicy, told: str) -> None:
    one, asked = foretold({}, 1, policy=policy)
    assert (one.verdict, told in one.reason, asked) == ("unknown", True, [])


def test_a_step_without_source_and_a_value_without_a_form_are_unknown() -> None:
    assert foretold({}, 1, code=None)[0].verdict == "unknown"
    assert foretold({}, 1, code=None, policy=CachePolicy(include_step_code=False))[0].verdict == "run"
    assert foretold({}, 1, kind="opaque", type="m.T")[0].verdict == "unknown"
    assert foretold({}, 1, policy=CachePolicy(ignored_inputs=("a",)), kind="opaque", type="m.T")[0].verdict == "run"
