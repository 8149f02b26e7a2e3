from __future__ import annotations

from typing import Any

import pytest

from penstock import pipeline, step
from penstock.author.pipeline import Pipeline
from penstock.author.unseen import unseen


@step
def use(x: Any = None) -> Any:
    return x is None


def is_none(value: Any, other: Any = 1) -> bool:
    return value is None


def harmless(value: Any) -> Any:
    return use(value)


def circle(value: Any, turns: int) -> Any:
    if turns is None:
        return value
    return circle(turns, value)


@pipeline
def by_is(a: Any, b: Any = 2) -> Any:
    return use(a) if b is None else use(b)


@pipeline
def by_is_not_on_the_right(a: Any, b: Any) -> Any:
    if None is not a:
        use(b)


@pipeline
def by_chain(a: Any, b: Any) -> Any:
    if 1 < use.annotation("x") is b:
        use(a)


@pipeline
def by_match(a: Any, b: Any) -> Any:
    match (b, 1):
        case ([], 1):
            use(a)


@pipeline
def by_alias(a: Any, b: Any) -> Any:
    c, d = b, 1
    e = c
    f: Any = d
    if e is f:
        use(a)


@pipeline
def by_walrus(a: Any) -> Any:
    if (c := a) is None:
        use(c)


@pipeline
def by_type(a: Any, b: Any) -> Any:
    if type(a) in (int, str):
        use(b)


@pipeline
def in_a_helper(a: Any, b: Any) -> Any:
    if is_none(b):
        use(a)


@pipeline
def in_a_helper_by_name(a: Any, b: Any) -> Any:
    if is_none(other=a, value=b):
        use(a)


@pipeline
def in_a_pipeline(a: Any, b: Any) -> Any:
    by_is(b, b=a)


@pipeline
def in_a_circle(a: Any, b: Any) -> Any:
    circle(a, b)


@pipeline
def in_a_closure(a: Any) -> Any:
    def inner() -> bool:
        return a is None

    return inner()


@pipeline
def nothing(a: Any, b: Any = None) -> Any:
    data = use(a)
    if data is None or Pipeline is None:
        harmless(b)
    match data:
        case _:
            pass
    return use(print, id=None)


@pytest.mark.parametrize(
    ("flow", "found"),
    [
        (by_is, ["b"]),
        (by_is_not_on_the_right, ["a"]),
        (by_chain, ["b"]),
        (by_match, ["b"]),
        (by_alias, ["b"]),
        (by_walrus, ["a"]),
        (by_type, ["a"]),
        (in_a_helper, ["b"]),
        (in_a_helper_by_name, ["b"]),
        (in_a_pipeline, ["a"]),
        (in_a_circle, ["a", "b"]),
        (in_a_closure, ["a"]),
        (nothing, []),
    ],
)
def test_decisions_that_no_marker_notices(flow: Pipeline, found: list[str]) -> None:
    assert unseen(flow) == found


def test_without_source_nothing_is_found() -> None:
    names: dict[str, Any] = {"pipeline": pipeline}
    exec("@pipeline\ndef typed(a):\n    return a is None\n", names)
    assert unseen(names["typed"]) == []
