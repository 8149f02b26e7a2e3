"""Snapshots are what they contain."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from penstock.ids import is_id
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.graph import Binding, Graph, Invocation
from penstock.model.snapshot import Content, Environment, snapshot_id

CONTENT = Content(
    pipeline="train",
    source="m:train",
    code="a" * 64,
    graph=Graph(
        invocations=(Invocation(id="s", step="s", source="m:s", inputs={"x": Binding(kind="value", value=1.5)}),)
    ),
    parameter_schema={"type": "object", "properties": {"b": {}, "a": {}}},
    environment=Environment(python="3.11"),
)


def test_equal_content_has_an_equal_id_also_after_a_journey_as_json() -> None:
    travelled = msgspec.json.decode(msgspec.json.encode(CONTENT), type=Content)
    assert snapshot_id(travelled) == snapshot_id(CONTENT)
    assert is_id(snapshot_id(CONTENT))


def test_the_order_of_keys_does_not_count() -> None:
    turned = replace(CONTENT, parameter_schema={"properties": {"a": {}, "b": {}}, "type": "object"})
    assert snapshot_id(turned) == snapshot_id(CONTENT)


def test_any_other_content_has_another_id() -> None:
    others = [
        replace(CONTENT, code="b" * 64),
        replace(CONTENT, source="m:other"),
        replace(CONTENT, given=PipelineRunConfiguration(timeout=1)),
    ]
    assert len({snapshot_id(one) for one in [CONTENT, *others]}) == 4


def test_the_id_stays_when_penstock_changes() -> None:
    """A field that is added with a default must not give other ids to snapshots that do not use it."""
    assert snapshot_id(CONTENT) == "26f2f866-a276-875f-86b9-09ea16cc519d"
