from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.author.signature import Signature, plain
from penstock.errors import AuthoringError


def both(a: Any, b: Any, c: Any = 3, *, d: Any, e: Any = 5) -> None: ...


def takes_more(a: Any, **more: Any) -> None: ...


def signature(function: Callable[..., Any]) -> Signature:
    inner = plain(function)
    assert inner is not None
    return Signature("it", inner)


def test_it_reads_names_positions_and_defaults() -> None:
    read = signature(both)
    assert (read.names, read.positional, read.defaults, read.open) == (
        ("a", "b", "c", "d", "e"),
        3,
        {"c": 3, "e": 5},
        False,
    )


def test_decorators_that_use_wraps_are_looked_through() -> None:
    @functools.wraps(both)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        return both(*args, **kwargs)

    assert plain(wrapper) is both
    assert plain(len) is None
    assert plain(functools.partial(both, 1)) is None


@given(
    st.lists(st.integers(), max_size=5), st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "f"]), st.integers())
)
def test_it_binds_like_python(args: list[int], kwargs: dict[str, int]) -> None:
    try:
        expected: dict[str, Any] | None = dict(inspect.signature(both).bind(*args, **kwargs).arguments)
    except TypeError:
        expected = None
    if expected is None:
        with pytest.raises(AuthoringError):
            signature(both).bind("it", tuple(args), kwargs)
    else:
        assert signature(both).bind("it", tuple(args), kwargs) == expected


def test_bound_arguments_stand_in_the_order_of_the_signature() -> None:
    assert list(signature(both).bind("it", (1,), {"e": 5, "d": 4, "b": 2})) == ["a", "b", "d", "e"]


def test_other_names_are_taken_where_the_function_takes_them() -> None:
    assert signature(takes_more).bind("it", (1,), {"x": 2}) == {"a": 1, "x": 2}


def test_all_mistakes_are_told_at_once_with_what_is_allowed() -> None:
    with pytest.raises(AuthoringError) as caught:
        signature(both).bind("Step train", (1, 2, 3, 4), {"a": 1, "learning_rat": 2})
    assert caught.value.detail == "Step train cannot be called like this."
    faults = {fault["pointer"]: fault["message"] for fault in caught.value.errors}
    assert faults == {
        "": "Takes 3 arguments by position, 4 were given.",
        "/a": "Given twice: by position and by name.",
        "/learning_rat": "There is no such argument.",
        "/d": "Missing; it has no default.",
    }
    assert caught.value.errors[2]["allowed"] == ["a", "b", "c", "d", "e"]


def test_the_nearest_name_is_proposed() -> None:
    def train(learning_rate: float = 0.1) -> None: ...

    with pytest.raises(AuthoringError, match="Did you mean 'learning_rate'"):
        signature(train).bind("Step train", (), {"learning_rat": 1})


async def asynchronous() -> None: ...


def generator() -> Any:
    yield 1


def variable(*many: Any) -> None: ...


def positional(a: Any, /) -> None: ...


def test_what_yields_and_what_is_waited_for_is_known() -> None:
    kinds = {one: (signature(one).asynchronous, signature(one).yields) for one in (asynchronous, generator)}
    assert kinds == {asynchronous: (True, False), generator: (False, True)}


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (variable, "write each of them out"),
        (positional, "positional-only"),
    ],
)
def test_functions_that_cannot_be_called_by_name_are_refused(function: Callable[..., Any], advice: str) -> None:
    with pytest.raises(AuthoringError, match=advice):
        signature(function)
