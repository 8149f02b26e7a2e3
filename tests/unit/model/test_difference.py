"""What is different between two versions, and what of it breaks callers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.difference import accepts, cache_lost, changes
from penstock.model.graph import Binding, Graph, Invocation, Output
from penstock.model.requirements import Requirements
from penstock.model.snapshot import Content, Environment


def content(properties: dict[str, Any], **more: Any) -> Content:
    schema = {"type": "object", "properties": properties, "$defs": more.pop("definitions", {})}
    whole = Content(pipeline="p", source="m:p", parameter_schema=schema, environment=Environment(python="3.11"))
    return replace(whole, **more)


def told(before: Content, after: Content) -> list[tuple[str, str, str, bool]]:
    return [(one.subject, one.name, one.kind, one.breaking) for one in changes(before, after)]


INTEGER = {"type": "integer", "default": 1}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": INTEGER}, {}, [("parameter", "a", "removed", True)]),
        ({}, {"a": INTEGER}, [("parameter", "a", "added", False)]),
        ({}, {"a": {"type": "integer"}}, [("parameter", "a", "added", True)]),
        ({"a": INTEGER}, {"a": {"type": "integer"}}, [("parameter", "a", "changed", True)]),
        ({"a": {"type": "integer"}}, {"a": INTEGER}, [("parameter", "a", "changed", False)]),
        ({"a": INTEGER}, {"a": {**INTEGER, "default": 2}}, [("parameter", "a", "changed", False)]),
        ({"a": INTEGER}, {"a": {**INTEGER, "type": "number"}}, [("parameter", "a", "changed", False)]),
        ({"a": {**INTEGER, "type": "number"}}, {"a": INTEGER}, [("parameter", "a", "changed", True)]),
        ({"a": INTEGER}, {"a": {**INTEGER, "minimum": 0}}, [("parameter", "a", "changed", True)]),
        ({"a": {**INTEGER, "minimum": 1}}, {"a": {**INTEGER, "minimum": 0}}, [("parameter", "a", "changed", False)]),
        ({"a": INTEGER}, {"a": {**INTEGER, "description": "new words", "title": "A"}}, []),
        (
            {"a": {"type": "integer", "default": None}},
            {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}},
            [("parameter", "a", "changed", False)],
        ),
    ],
)
def test_parameters(before: dict[str, Any], after: dict[str, Any], expected: list[Any]) -> None:
    assert told(content(before), content(after)) == expected


def test_a_parameter_may_be_called_like_a_word_of_the_schema() -> None:
    nested = {"type": "object", "properties": {"title": {"type": "string"}, "default": {"type": "string"}}}
    other = {"type": "object", "properties": {"title": {"type": "integer"}, "default": {"type": "string"}}}
    assert told(content({"a": nested}), content({"a": other})) == [
        ("parameter", "a", "changed", True),
    ]


def test_definitions_are_compared_by_what_they_say_and_may_refer_to_themselves() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}, "size": {"type": "integer"}}}
    leaf = {"type": "object", "properties": {"left": {"$ref": "#/$defs/Other"}, "size": {"type": "integer"}}}
    before = content({"a": {"$ref": "#/$defs/Tree", "default": None}}, definitions={"Tree": tree})
    renamed = content({"a": {"$ref": "#/$defs/Other", "default": None}}, definitions={"Other": leaf})
    assert told(before, renamed) == told(before, before) == []
    other = {**tree, "properties": {**tree["properties"], "size": {"type": "string"}}}
    changed = content({"a": {"$ref": "#/$defs/Tree", "default": None}}, definitions={"Tree": other})
    assert told(before, changed) == [("parameter", "a", "changed", True)]


def test_definitions_in_circles_end() -> None:
    names = [f"D{number}" for number in range(12)]
    all_of_them = {"type": "object", "properties": {name: {"$ref": f"#/$defs/{name}"} for name in names}}
    circles = content({"a": {"$ref": "#/$defs/D0"}}, definitions=dict.fromkeys(names, all_of_them))
    assert told(circles, circles) == []


def step(id: str, *, code: str = "1", after: tuple[str, ...] = (), **more: Any) -> Invocation:
    return Invocation(id=id, step=id, source=f"m:{id}", code=code, after=after, **more)


def test_steps_and_what_loses_its_cache() -> None:
    before = Graph(invocations=(step("a"), step("b", after=("a",)), step("c"), step("gone")))
    after = Graph(invocations=(step("a", code="2"), step("b", after=("a",)), step("c"), step("new")))
    assert told(content({}, graph=before), content({}, graph=after)) == [
        ("step", "a", "changed", False),
        ("step", "gone", "removed", False),
        ("step", "new", "added", False),
    ]
    assert cache_lost(content({}, graph=before), content({}, graph=after)) == ["a", "b", "new"]
    assert cache_lost(content({}, graph=before), content({}, graph=before)) == []
    constant = Graph(invocations=(step("a", inputs={"n": Binding(kind="value", value=1)}),))
    other = Graph(invocations=(step("a", inputs={"n": Binding(kind="value", value=2)}),))
    assert cache_lost(content({}, graph=constant), content({}, graph=other)) == ["a"]


def test_outputs_break_the_other_way_round() -> None:
    def made(schema: dict[str, Any]) -> Content:
        return replace(content({}), output_schema={"type": "object", "properties": schema})

    number, integer = {"type": "number"}, {"type": "integer"}
    assert told(made({"a": number}), made({})) == [("output", "a", "removed", True)]
    assert told(made({}), made({"a": number})) == [("output", "a", "added", False)]
    assert told(made({"a": number}), made({"a": integer})) == [("output", "a", "changed", False)]
    assert told(made({"a": integer}), made({"a": number})) == [("output", "a", "changed", True)]


def test_what_is_required_is_told_by_package_and_costs_every_step_its_cache() -> None:
    def requiring(requires: Requirements | None) -> Content:
        return content(
            {}, graph=Graph(invocations=(step("a"),)), environment=Environment(python="3.11", requires=requires)
        )

    one = requiring(Requirements(packages=("tiny==1", "old"), constraints=("below==1",)))
    two = requiring(Requirements(python=">=3.11", packages=("tiny==2", "new"), constraints=("below==1",)))
    assert [(one.name, one.kind, one.detail) for one in changes(one, two)] == [
        ("requirement tiny", "changed", "It was 'tiny==1', and is 'tiny==2' now."),
        ("requirement old", "removed", "It was 'old'."),
        ("required Python", "added", "It is '>=3.11'."),
        ("requirement new", "added", "It is 'new'."),
    ]
    assert cache_lost(one, two) == ["a"]
    assert changes(one, one) == []
    assert [found.name for found in changes(requiring(None), one)] == [
        "requirement tiny",
        "requirement old",
        "locked below",
    ]


def test_environment_settings_and_code_are_told() -> None:
    before = content({}, code="1" * 64)
    after = content(
        {},
        code="2" * 64,
        stack="big",
        environment=Environment(python="3.12"),
        configuration=PipelineRunConfiguration(timeout=5),
        graph=Graph(invocations=(step("a", outputs=(Output(name="o", type="int"),)),)),
    )
    assert {(subject, name) for subject, name, *_ in told(before, after)} == {
        ("code", "archive"),
        ("environment", "python"),
        ("setting", "stack"),
        ("setting", "timeout"),
        ("step", "a"),
    }


BOUND = st.integers(-3, 3)
SCALARS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={"minimum": BOUND, "maximum": BOUND, "exclusiveMinimum": BOUND, "exclusiveMaximum": BOUND},
    ),
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"minLength": BOUND.map(abs), "maxLength": BOUND.map(abs)}
    ),
    st.fixed_dictionaries(
        {"type": st.just("string"), "enum": st.lists(st.sampled_from("abc"), min_size=1, unique=True)}
    ),
    st.fixed_dictionaries({"const": st.sampled_from(["a", 1, None])}),
    st.just({"type": "null"}),
    st.just({}),
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"maxItems": BOUND.map(abs)}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=2, max_size=3)}),
    ),
    max_leaves=4,
)
LEAVES = st.one_of(
    st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(["", "a", "b", "abc"]), st.none(), st.booleans()
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@settings(max_examples=400)
@given(SCHEMAS, SCHEMAS, st.lists(VALUES, min_size=5, max_size=20))
def test_what_is_called_wider_takes_every_value(wide: Any, narrow: Any, values: list[Any]) -> None:
    if accepts(wide, narrow):
        taken = [one for one in values if jsonschema_rs.is_valid(narrow, one)]
        assert [one for one in taken if not jsonschema_rs.is_valid(wide, one)] == []


@given(SCHEMAS)
def test_every_schema_takes_its_own_values(schema: Any) -> None:
    assert accepts(schema, schema)
    assert accepts({}, schema)
    assert accepts({"anyOf": [schema, {"type": "boolean"}]}, schema)
