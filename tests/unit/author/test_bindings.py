from __future__ import annotations

import enum
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.author.bindings import binding_of
from penstock.author.handle import Handle
from penstock.author.markers import PipelineParameter, ShapeDecided
from penstock.model.graph import Binding


def notice(name: str) -> NoReturn:
    raise ShapeDecided(name)


class Color(enum.Enum):
    RED = "red"
    CLASS = Path


class Word(str):
    __slots__ = ()


class Point(NamedTuple):
    x: Any
    y: Any


def n() -> PipelineParameter:
    return PipelineParameter("n", notice)


H = Handle("load", "data", "Any", composer=None)  # type: ignore[arg-type]
PARAMETER = Binding(kind="parameter", name="n")
OUTPUT = Binding(kind="output", step="load", output="data")

CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "binding"),
    [
        (3, Binding(kind="value", value=3)),
        (None, Binding(kind="value", value=None)),
        ({}, Binding(kind="value", value={})),
        ((1, [2.5, "a"]), Binding(kind="value", value=[1, [2.5, "a"]])),
        ({"a": {"b": True}}, Binding(kind="value", value={"a": {"b": True}})),
        (Color.RED, Binding(kind="value", value="red")),
        (Word("x"), Binding(kind="value", value="x")),
        (date(2026, 1, 2), Binding(kind="opaque", type="datetime.date")),
        (Path("a"), Binding(kind="opaque", type="pathlib.PosixPath")),
        (Color.CLASS, Binding(kind="opaque", type=f"{__name__}.Color")),
        ({1: 2}, Binding(kind="opaque", type="dict")),
        ({1, 2}, Binding(kind="opaque", type="set")),
        (b"x", Binding(kind="opaque", type="bytes")),
        (float("nan"), Binding(kind="opaque", type="float")),
        ([float("inf")], Binding(kind="opaque", type="list")),
        (2**63, Binding(kind="opaque", type="int")),
        ("\ud800", Binding(kind="opaque", type="str")),
        (CYCLE, Binding(kind="opaque", type="list")),
    ],
)
def test_constants(value: Any, binding: Binding) -> None:
    assert binding_of(value) == binding


# As functions: pytest looks at what it finds in a module, and that is noticed.
EDGES: dict[str, tuple[Callable[[], Any], Binding]] = {
    "parameter": (n, PARAMETER),
    "output": (lambda: H, OUTPUT),
    "list": (lambda: [n(), 1, H], Binding(kind="items", items=(PARAMETER, Binding(kind="value", value=1), OUTPUT))),
    "named tuple": (lambda: Point(1, H), Binding(kind="items", items=(Binding(kind="value", value=1), OUTPUT))),
    "mapping": (
        lambda: {"a": [n()], "b": date},
        Binding(
            kind="items",
            keys=("a", "b"),
            items=(Binding(kind="items", items=(PARAMETER,)), Binding(kind="opaque", type="type")),
        ),
    ),
    "mapping with other keys": (lambda: {1: H}, Binding(kind="items", keys=("1",), items=(OUTPUT,))),
}


@pytest.mark.parametrize("case", EDGES)
def test_edges(case: str) -> None:
    value, binding = EDGES[case]
    assert binding_of(value()) == binding


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner)
)


@given(values)
def test_a_value_binding_is_exactly_json(value: Any) -> None:
    binding = binding_of(value)
    assert binding.kind in ("value", "opaque")
    if binding.kind == "value":
        text = json.dumps(binding.value, allow_nan=False, ensure_ascii=False)
        assert json.loads(text.encode()) == binding.value
