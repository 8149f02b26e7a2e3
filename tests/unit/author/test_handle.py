from __future__ import annotations

import copy
import math
import operator
import os
from collections.abc import Callable
from typing import Any

import pytest

from penstock.author.handle import Handle, check_handles
from penstock.errors import AuthoringError


class Loader:
    def submit(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing is submitted here")

    def load(self, handle: Handle) -> str:
        return f"value of {handle.step}"


def make(step: str = "train", composer: Any = None) -> Handle:
    return Handle(step, "output", "int", composer or Loader())


def test_it_tells_what_it_stands_for_and_asks_its_composer_for_the_value() -> None:
    handle = make()
    assert (handle.step, handle.output, handle.type) == ("train", "output", "int")
    assert repr(handle) == str(handle) == "<int to come from step train, output output>"
    assert handle.load() == "value of train"


def test_it_can_be_kept_in_sets_and_mappings() -> None:
    one, other = make(), make()
    assert len({one, other, one}) == 2
    assert {one: 1, other: 2}[one] == 1


MISUSES: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "not": operator.not_,
    "if": lambda h: 1 if h else 2,
    "iter": iter,
    "unpack": lambda h: [*h],
    "len": len,
    "==": lambda h: h == 3,
    "== reflected": lambda h: h == 3,
    "!=": lambda h: h != 3,
    "<": lambda h: h < 3,
    ">= reflected": lambda h: 3 >= h,  # noqa: SIM300 - the reflected side is what is tested
    "+": lambda h: h + 1,
    "+ reflected": lambda h: 1 + h,
    "text +": lambda h: "a" + h,
    "+=": lambda h: operator.iadd(h, 1),
    "*": lambda h: h * 2,
    "/": lambda h: h / 2,
    "**": lambda h: h**2,
    "% reflected": lambda h: 5 % h,
    "@": lambda h: h @ h,
    "|": lambda h: h | {},
    "-": operator.neg,
    "abs": abs,
    "int": int,
    "float": float,
    "round": round,
    "floor": math.floor,
    "range": range,
    "index": lambda h: h[0],
    "set index": lambda h: operator.setitem(h, 0, 1),
    "in": lambda h: 1 in h,
    "attribute": lambda h: h.shape,
    "hasattr": lambda h: hasattr(h, "shape"),
    "set attribute": lambda h: setattr(h, "step", "other"),
    "delete attribute": lambda h: delattr(h, "step"),
    "call": lambda h: h(),
    "with": lambda h: h.__enter__(),
    "path": os.fspath,
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES.keys())
def test_what_would_need_the_value_says_so(misuse: Callable[[Any], Any]) -> None:
    with pytest.raises(
        AuthoringError, match=r"Step train, output 'output': you cannot .*not known until it ran.*\.load"
    ):
        misuse(make())


def test_unpacking_tells_how_to_get_several_results() -> None:
    with pytest.raises(AuthoringError, match=r"-> tuple\[A, B\]"):
        _first, _second = make()


def test_python_itself_may_ask_what_it_likes() -> None:
    handle = make()
    assert not hasattr(handle, "__wrapped__")
    assert isinstance(handle, Handle)
    assert not isinstance(handle, dict)
    assert copy.copy(handle) is handle
    assert copy.deepcopy({"a": [handle]})["a"][0] is handle


def test_a_handle_of_another_run_is_refused_wherever_it_stands() -> None:
    mine, other = Loader(), Loader()
    check_handles({"a": [make(composer=mine), (1, {"b": make(composer=mine)})]}, mine)
    with pytest.raises(AuthoringError, match="belongs to another run"):
        check_handles({"a": [1, (make(composer=other),)]}, mine)


@pytest.mark.parametrize("hide", [lambda h: {h}, lambda h: frozenset({h}), lambda h: {h: 1}, lambda h: [{1, h}]])
def test_a_handle_where_nobody_would_find_it_is_refused(hide: Callable[[Handle], Any]) -> None:
    mine = Loader()
    with pytest.raises(AuthoringError, match=r"in a set or is the key of a mapping"):
        check_handles(hide(make(composer=mine)), mine)
