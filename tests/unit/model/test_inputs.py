"""What a caller gave, held against what a snapshot takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.errors import InvalidInput
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration
from penstock.model.graph import Binding, Graph, Invocation
from penstock.model.inputs import Effective, resolve
from penstock.model.snapshot import Content, Environment, Snapshot


def snapshot(*, dynamic: bool = False, required: bool = False) -> Snapshot:
    url: dict[str, Any] = {"type": "string"} if required else {"type": "string", "default": "a.csv"}
    schema = {
        "type": "object",
        "properties": {"data_url": url, "depth": {"type": "integer", "minimum": 1, "default": 3}},
        "additionalProperties": False,
    }
    load = Invocation(
        id="load",
        step="load",
        source="m:load",
        inputs={"url": Binding(kind="parameter", name="data_url"), "sep": Binding(kind="value", value=",")},
        schema={"type": "object", "properties": {"url": {"type": "string"}, "sep": {"type": "string"}}},
    )
    train = Invocation(
        id="train",
        step="train",
        source="m:train",
        inputs={
            "data": Binding(kind="output", step="load", output="output"),
            "depth": Binding(kind="parameter", name="depth"),
        },
        schema={"type": "object", "properties": {"data": {}, "depth": {"type": "integer"}}},
    )
    content = Content(
        pipeline="p",
        source="m:p",
        code="0" * 64,
        graph=Graph(invocations=(load, train), dynamic=dynamic),
        parameter_schema=schema,
        environment=Environment(python="3.11"),
    )
    return Snapshot(id="s", pipeline_id="p", content=content, created=datetime.now(UTC))


def given(parameters: dict[str, Any] | None = None, **steps: dict[str, Any]) -> PipelineRunConfiguration:
    said = {step: StepConfiguration(parameters=values) for step, values in steps.items()}
    return PipelineRunConfiguration(parameters=parameters or {}, steps=said)


def faults(inputs: PipelineRunConfiguration, **options: bool) -> dict[str, dict[str, Any]]:
    with pytest.raises(InvalidInput) as caught:
        resolve(snapshot(**options), inputs)
    return {fault["pointer"]: fault for fault in caught.value.errors}


def test_defaults_fill_what_was_not_given_and_every_value_knows_its_origin() -> None:
    said = given({"depth": 5}, load={"sep": ";"})
    assert resolve(snapshot(), said) == Effective(
        configuration=said,
        parameters={"depth": 5, "data_url": "a.csv"},
        step_parameters={"load": {"sep": ";"}},
        origins={
            "/parameters/depth": "request",
            "/parameters/data_url": "default",
            "/steps/load/parameters/sep": "request",
        },
    )


def test_all_mistakes_are_told_at_once() -> None:
    found = faults(given({"dept": 1, "depth": 0}, lod={}, load={"seq": 1, "sep": 1}, train={"data": 1}))
    assert found["/parameters/dept"]["did_you_mean"] == "depth"
    assert found["/parameters/dept"]["allowed"] == ["data_url", "depth"]
    assert "minimum" in found["/parameters/depth"]["message"]
    assert found["/steps/lod"]["did_you_mean"] == "load"
    assert found["/steps/load/parameters/seq"]["allowed"] == ["url", "sep"]
    assert "string" in found["/steps/load/parameters/sep"]["message"]
    assert "made by step load" in found["/steps/train/parameters/data"]["message"]


def test_a_missing_value_is_a_mistake() -> None:
    assert list(faults(given(), required=True)) == ["/parameters/data_url"]


def test_a_step_level_value_stands_in_for_the_missing_parameter_it_replaces() -> None:
    effective = resolve(snapshot(required=True), given(load={"url": "b.csv"}))
    assert effective.parameters["data_url"] == "b.csv"
    assert effective.origins["/parameters/data_url"] == "request (steps.load.parameters.url)"


def test_a_dynamic_graph_may_have_steps_that_nobody_has_seen() -> None:
    assert resolve(snapshot(dynamic=True), given(later={"x": 1})).step_parameters == {"later": {"x": 1}}


def test_pointers_escape_what_json_pointer_reserves() -> None:
    assert "/parameters/a~1b~0c" in faults(given({"a/b~c": 1}))


def test_listed_values_are_told_and_alternatives_explained() -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["forest", "boosting"], "default": "forest"},
            "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        },
    }
    made = replace(snapshot(), content=replace(snapshot().content, parameter_schema=schema))
    with pytest.raises(InvalidInput) as caught:
        resolve(made, given({"kind": "forrest", "limit": "many"}))
    kind, limit = caught.value.errors
    assert (kind["allowed"], kind["did_you_mean"]) == (["forest", "boosting"], "forest")
    assert "integer" in limit["message"]
    assert "null" in limit["message"]
