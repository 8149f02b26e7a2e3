from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import pytest

from penstock import step
from penstock.errors import AuthoringError

if TYPE_CHECKING:
    import pandas as pd


class Pair(NamedTuple):
    a: int
    b: int


def nothing() -> None: ...
def anything(): ...  # type: ignore[no-untyped-def]
def one() -> int: ...
def named() -> Annotated[dict[str, float], "metrics"]: ...
def noted() -> Annotated[int, 3, "count", "more"]: ...
def two() -> tuple[int, str]: ...
def mixed() -> tuple[Annotated[int, "total"], pd.DataFrame, Annotated[str, 1]]: ...
def single() -> tuple[int]: ...
def many() -> tuple[int, ...]: ...
def bare() -> tuple: ...  # type: ignore[type-arg]
def pair() -> Pair: ...
def whole() -> Annotated[tuple[int, int], "pair"]: ...
def unresolved() -> tuple[pd.DataFrame, pd.Series[int]]: ...


@pytest.mark.parametrize(
    ("function", "outputs"),
    [
        (nothing, []),
        (anything, [("output", "Any")]),
        (one, [("output", "int")]),
        (named, [("metrics", "dict[str, float]")]),
        (noted, [("count", "int")]),
        (two, [("output_0", "int"), ("output_1", "str")]),
        (mixed, [("total", "int"), ("output_1", "pd.DataFrame"), ("output_2", "str")]),
        (single, [("output_0", "int")]),
        (many, [("output", "tuple[int, ...]")]),
        (bare, [("output", "tuple")]),
        (pair, [("output", f"{__name__}.Pair")]),
        (whole, [("pair", "tuple[int, int]")]),
        (unresolved, [("output_0", "pd.DataFrame"), ("output_1", "pd.Series")]),
    ],
)
def test_outputs_of_a_return_annotation(function: Any, outputs: list[tuple[str, str]]) -> None:
    assert [(output.name, output.type) for output in step(function).outputs()] == outputs


def test_output_names_are_given_once_and_fit() -> None:
    @step
    def doubled() -> tuple[Annotated[int, "a"], Annotated[int, "a"]]: ...

    @step
    def wrong() -> Annotated[int, "a/b"]: ...

    with pytest.raises(AuthoringError, match="Step doubled has several outputs named 'a'"):
        doubled.outputs()
    with pytest.raises(AuthoringError, match="'a/b' cannot name an output of step wrong"):
        wrong.outputs()


@pytest.mark.parametrize(
    ("function", "result", "split"),
    [
        (nothing, None, {}),
        (anything, None, {"output": None}),
        (one, (1, 2), {"output": (1, 2)}),
        (two, (1, "b"), {"output_0": 1, "output_1": "b"}),
        (two, [1, "b"], {"output_0": 1, "output_1": "b"}),
        (single, (1,), {"output_0": 1}),
        (pair, Pair(1, 2), {"output": Pair(1, 2)}),
    ],
)
def test_results_are_split_by_output(function: Any, result: Any, split: dict[str, Any]) -> None:
    assert step(function).split(result) == split


@pytest.mark.parametrize(
    ("function", "result", "message"),
    [
        (nothing, 3, r"Step nothing is annotated `-> None` but returned a value \(int\)"),
        (two, (1,), r"Step two is annotated to return 2 values \(output_0, output_1\); got 1 values"),
        (two, "ab", "got str"),
        (two, None, "got None"),
    ],
)
def test_results_that_are_not_what_was_declared(function: Any, result: Any, message: str) -> None:
    with pytest.raises(AuthoringError, match=message):
        step(function).split(result)
