from __future__ import annotations

from typing import Any

import pytest

from penstock.author.handle import Handle
from penstock.author.results import named


def handle(step: str, output: str = "output") -> Handle:
    return Handle(step, output, "Any", composer=None)  # type: ignore[arg-type]


A, B, METRICS = handle("a"), handle("b"), handle("evaluate", "metrics")


@pytest.mark.parametrize(
    ("returned", "names"),
    [
        (None, []),
        (A, ["output"]),
        (METRICS, ["metrics"]),
        ({"model": A, "limit": 3}, ["model", "limit"]),
        ({}, []),
        ((METRICS, A), ["metrics", "output"]),
        ([A, B, METRICS], ["a.output", "b.output", "metrics"]),
        ((A, A), ["output"]),
        ((A, 3), ["output", "output_1"]),
        ((handle("a", "output_1"), 3), ["a.output_1", "output_1"]),
        (3, ["output"]),
        ([1, 2], ["output"]),
        ([[A]], ["output"]),
        ({1: A}, ["output"]),
    ],
)
def test_names_of_what_a_pipeline_returns(returned: Any, names: list[str]) -> None:
    assert list(named(returned)) == names


def test_values_are_handed_on_untouched() -> None:
    found = named((METRICS, 0.5))
    assert found["metrics"] is METRICS
    assert found["output_1"] == 0.5
