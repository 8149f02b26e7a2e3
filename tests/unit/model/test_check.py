"""Values against a schema that is made ready once."""

from __future__ import annotations

from typing import Any

from penstock.model.check import schema_faults

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"depth": {"type": "integer"}, "kind": {"enum": ["rf", "gb"]}},
    "required": ["depth"],
}


def told(schema: dict[str, Any], values: dict[str, Any]) -> list[str]:
    return [f"{one['pointer']} {one['message']}" for one in schema_faults(schema, values, ("parameters",))]


def test_each_mistake_has_its_place_and_what_is_missing_is_none() -> None:
    assert told(SCHEMA, {}) == told(SCHEMA, {"kind": "rf"}) == []
    first, second = schema_faults(SCHEMA, {"depth": "x", "kind": "gbm"}, ("parameters",))
    assert first["pointer"] == "/parameters/depth"
    assert (second["pointer"], second["allowed"], second["did_you_mean"]) == ("/parameters/kind", ["rf", "gb"], "gb")


def test_a_schema_that_looks_alike_is_another_one() -> None:
    looser = {**SCHEMA, "properties": {"depth": {"type": ["integer", "string"]}}}
    for _ in range(2):
        assert len(told(SCHEMA, {"depth": "x"})) == 1
        assert told(looser, {"depth": "x"}) == []


def test_schemas_that_come_and_go_are_never_taken_for_each_other() -> None:
    for number in range(1000):  # more than are kept; an address in memory is given to the next one
        schema = {"type": "object", "properties": {"depth": {"const": number}}}
        assert told(schema, {"depth": number}) == []
        assert len(told(schema, {"depth": number + 1})) == 1


def test_an_integer_is_exact_and_nothing_is_too_deep_to_read() -> None:
    assert told(SCHEMA, {"depth": 1e300}) != []
    deep: Any = 1
    for _ in range(250):
        deep = [deep]
    assert told(SCHEMA, {"kind": deep}) == ["/parameters/kind It is nested more than 200 levels deep."]
