"""What the document of a template version accepts is what the server takes, and everything in it leads somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import step
from penstock.author.freeze import freeze
from penstock.author.pipeline import Pipeline, pipeline
from penstock.errors import InvalidInput
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration
from penstock.model.graph import Binding, Graph, Invocation
from penstock.model.inputs import resolve
from penstock.model.snapshot import Content, Environment, Snapshot
from penstock.model.template import Template, TemplateVersion
from penstock.server.template_openapi import describe
from tests.acceptance.pipelines.lab import lab
from tests.acceptance.pipelines.parameters import door, echo, typed

AT = datetime(2025, 1, 1, tzinfo=UTC)
VERSION = TemplateVersion(version=7, snapshot_id="s", created=AT)


def snapshot(content: Content) -> Snapshot:
    return Snapshot(id="s", pipeline_id="p", content=content, created=AT)


def document(content: Content, name: str = "train") -> dict[str, Any]:
    template = Template(
        id="t", name=name, pipeline_id="p", pipeline_name=content.pipeline, versions=(VERSION,), created=AT
    )
    return describe(template, VERSION, snapshot(content))


def frozen(wanted: Pipeline[..., Any]) -> Content:
    return freeze(wanted).content


def content(schema: dict[str, Any], *invocations: Invocation, **fields: Any) -> Content:
    graph = Graph(invocations=invocations, dynamic=fields.pop("dynamic", False))
    return Content(
        pipeline="p",
        source="m:p",
        code="0" * 64,
        graph=graph,
        parameter_schema=schema,
        environment=Environment(python="3.11"),
        **fields,
    )


def validator(of: dict[str, Any], name: str) -> jsonschema_rs.Draft202012Validator:
    whole = {"$ref": f"#/components/schemas/{name}", "components": of["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    for one in value if isinstance(value, list) else ():
        yield from references(one)


def schema_for(name: str, *, titled: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"$ref": "#/$defs/Run"}},
        "$defs": {
            "Run": {"type": "object", "title": titled, "properties": {"next": {"$ref": "#/$defs/Link[Run]"}}},
            "Link[Run]": {"anyOf": [{"$ref": "#/$defs/Run"}, {"type": "null"}]},
        },
    }


@step
def fit(rate: float, rounds: int = 3) -> float:
    return rate * rounds


@pipeline
def bounded(rate: float, name: str = "x") -> Any:
    """Fit at a rate."""
    return fit(rate, rounds=5)


PIPELINES = [lab, typed, door, echo, bounded]


@pytest.mark.parametrize("wanted", PIPELINES, ids=lambda one: one.name)
def test_every_reference_leads_to_a_schema_and_every_schema_is_one(wanted: Pipeline[..., Any]) -> None:
    made = document(frozen(wanted))
    schemas = made["components"]["schemas"]
    prefix = "#/components/schemas/"
    assert {one.removeprefix(prefix) for one in references(made)} <= set(schemas)
    assert all("$defs" not in one for one in schemas.values())
    for name, one in schemas.items():
        assert jsonschema_rs.meta.is_valid(one), name
        validator(made, name)
    assert made["openapi"] == "3.1.0"
    assert {one["operationId"] for path in made["paths"].values() for one in path.values()} == {
        "run_train",
        "get_run_of_train",
    }


def test_the_address_is_that_of_the_version() -> None:
    made = document(frozen(lab), name="daily train")
    assert list(made["paths"]) == ["/api/v1/run_templates/daily%20train@v7/runs", "/api/v1/runs/{run_id}"]
    assert made["info"] == {"title": "daily train", "version": "v7", "description": "Do one deed and report."}
    post = made["paths"]["/api/v1/run_templates/daily%20train@v7/runs"]["post"]
    assert post["operationId"] == "run_daily_train"
    assert post["requestBody"]["required"] is False
    assert {"200", "202", "401", "403", "404", "409", "422", "429", "503"} <= set(post["responses"])
    assert [one["name"] for one in post["parameters"]] == ["Idempotency-Key", "Prefer"]
    problem = post["responses"]["422"]["content"]["application/problem+json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/Problem"}


def test_what_is_required_makes_the_body_required() -> None:
    made = document(frozen(bounded))
    post = next(iter(made["paths"].values()))["post"]
    assert post["requestBody"]["required"] is True
    assert made["components"]["schemas"]["RunConfiguration"]["required"] == ["parameters"]


def test_what_the_snapshot_says_of_all_its_runs_is_a_default() -> None:
    said = PipelineRunConfiguration(parameters={"rate": 0.5})
    made = document(replace(frozen(bounded), given=said))
    parameters = made["components"]["schemas"]["Parameters"]
    assert parameters["properties"]["rate"]["default"] == 0.5
    assert "required" not in parameters
    assert "required" not in made["components"]["schemas"]["RunConfiguration"]


def test_arguments_of_steps_have_no_defaults_and_none_that_steps_make() -> None:
    schemas = document(frozen(lab))["components"]["schemas"]
    assert set(schemas["act_parameters"]["properties"]) == {"deed", "number", "path"}
    assert schemas["report_parameters"]["properties"] == {}
    schemas = document(frozen(bounded))["components"]["schemas"]
    assert schemas["fit_parameters"]["properties"]["rounds"] == {"type": "integer"}


def test_what_is_left_to_the_caller_is_required_of_the_step() -> None:
    schema = {"type": "object", "properties": {"depth": {"type": "integer"}}, "required": ["depth"]}
    left = Invocation(id="fit", step="fit", source="m:fit", schema=schema)
    made = document(content({"type": "object"}, left))
    takes = validator(made, "RunConfiguration").is_valid
    assert not takes({})
    assert not takes({"steps": {"fit": {}}})
    assert takes({"steps": {"fit": {"parameters": {"depth": 1}}}})
    said = PipelineRunConfiguration(steps={"fit": StepConfiguration(parameters={"depth": 2})})
    assert validator(document(content({"type": "object"}, left, given=said)), "RunConfiguration").is_valid({})


def test_a_dynamic_pipeline_may_come_to_other_steps() -> None:
    made = document(content({"type": "object"}, dynamic=True))
    takes = validator(made, "RunConfiguration").is_valid
    assert takes({"steps": {"later": {"parameters": {"depth": 1}}}})
    assert not takes({"steps": {"later": {"params": {}}}})


class TestDefinitions:
    def test_equal_ones_are_shared_and_others_are_kept_apart(self) -> None:
        steps = [
            Invocation(id=name, step=name, source="m:s", schema=schema_for("x", titled=titled))
            for name, titled in (("one", "a"), ("two", "b"))
        ]
        made = document(content(schema_for("run", titled="a"), *steps))
        schemas = made["components"]["schemas"]
        assert {one.removeprefix("#/components/schemas/") for one in references(made)} <= set(schemas)
        assert schemas["Parameters"]["properties"]["run"] == {"$ref": "#/components/schemas/Run_2"}
        assert (
            schemas["one_parameters"]["properties"]["x"]["$ref"] != schemas["two_parameters"]["properties"]["x"]["$ref"]
        )
        titles = {
            step: schemas[schemas[f"{step}_parameters"]["properties"]["x"]["$ref"].rpartition("/")[2]]["title"]
            for step in ("one", "two")
        }
        assert titles == {"one": "a", "two": "b"}
        assert schemas["Run"]["description"] == "One execution of a snapshot."

    def test_values_that_look_like_references_stay(self) -> None:
        value = {"$ref": "#/$defs/Run"}
        schema = {
            "type": "object",
            "properties": {"default": {"default": value}, "run": {"enum": [value]}, "other": {"$ref": "#/$defs/Run"}},
            "$defs": {"Run": {"type": "integer"}},
        }
        properties = document(content(schema))["components"]["schemas"]["Parameters"]["properties"]
        assert properties["default"] == {"default": value}
        assert properties["run"] == {"enum": [value]}
        assert properties["other"] == {"$ref": "#/components/schemas/Run_2"}

    def test_discriminators_lead_to_the_new_place(self) -> None:
        schema = {
            "type": "object",
            "properties": {
                "pet": {
                    "oneOf": [{"$ref": "#/$defs/Cat"}],
                    "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat"}},
                }
            },
            "$defs": {"Cat": {"type": "object"}},
        }
        pet = document(content(schema))["components"]["schemas"]["Parameters"]["properties"]["pet"]
        assert pet["discriminator"]["mapping"] == {"cat": "#/components/schemas/Cat"}

    def test_a_recursive_one_is_led_to_itself(self) -> None:
        schema = {
            "type": "object",
            "properties": {"tree": {"$ref": "#/$defs/Tree"}},
            "$defs": {"Tree": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
        }
        made = document(content(schema))
        assert validator(made, "Parameters").is_valid({"tree": [[], [[]]]})
        assert not validator(made, "Parameters").is_valid({"tree": [1]})


def test_the_outputs_of_a_run_are_typed() -> None:
    takes = validator(document(frozen(lab)), "Outputs").is_valid
    assert takes({"output": {"value": 4}})
    assert not takes({"output": {"value": "four"}})
    assert not takes({"other": {"value": 4}})


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.floats(allow_nan=False, allow_infinity=False, width=16),
    st.sampled_from(["", "square", "1"]),
    st.lists(st.integers(0, 2), max_size=2),
)
NAMES = st.sampled_from(["whole", "real", "items", "bounded", "deed", "number", "nmber"])
MAPPINGS = st.dictionaries(NAMES, VALUES, max_size=4)
STEPS = st.dictionaries(st.sampled_from(["act", "report", "same", "nothing"]), MAPPINGS, max_size=2)
CONTENTS = {one.name: frozen(one) for one in (door, lab)}
VALIDATORS = {name: validator(document(one), "RunConfiguration") for name, one in CONTENTS.items()}


@pytest.mark.parametrize("name", CONTENTS)
@given(parameters=MAPPINGS, steps=STEPS)
def test_it_accepts_what_the_server_takes(name: str, parameters: dict[str, Any], steps: dict[str, Any]) -> None:
    body = {"parameters": parameters, "steps": {one: {"parameters": values} for one, values in steps.items()}}
    said = {one: StepConfiguration(parameters=values) for one, values in steps.items()}
    try:
        resolve(snapshot(CONTENTS[name]), PipelineRunConfiguration(parameters=parameters, steps=said))
        taken = True
    except InvalidInput:
        taken = False
    assert VALIDATORS[name].is_valid(body) == taken


def test_a_binding_from_a_step_inside_a_list_is_no_parameter() -> None:
    made = Binding(kind="items", items=(Binding(kind="output", step="one", output="output"),))
    schema = {"type": "object", "properties": {"values": {"type": "array"}}, "required": ["values"]}
    invocation = Invocation(id="sum", step="sum", source="m:sum", inputs={"values": made}, schema=schema)
    schemas = document(content({"type": "object"}, invocation))["components"]["schemas"]
    assert schemas["sum_parameters"]["properties"] == {}
    assert "required" not in schemas["sum_parameters"]
