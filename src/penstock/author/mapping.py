"""`step.map` and `step.product`: lists of arguments as single calls."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from penstock.author.handle import Handle
from penstock.errors import AuthoringError

if TYPE_CHECKING:
    from penstock.author.step import Step

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Unmapped:
    """An argument that every call gets as it is, although it is a list."""

    def __init__(self, value: Any) -> None:
        self.value = value


def unmapped(value: Any) -> Unmapped:
    """Give `value` to every call that `map` or `product` makes, instead of taking it item by item."""
    return Unmapped(value)


def rows(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Call]:
    """The calls of `map`: the n-th has the n-th item of every list."""
    lists, constants = _parted(step, args, kwargs)
    lengths = {name: len(items) for name, items in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise AuthoringError(f"Step {step.name} is mapped over lists of different lengths: {told}.")
    for items in zip(*lists.values(), strict=True):
        yield (), constants | dict(zip(lists, items, strict=True))


def combinations(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Call]:
    """The calls of `product`: one for each combination."""
    lists, constants = _parted(step, args, kwargs)
    for items in itertools.product(*lists.values()):
        yield (), constants | dict(zip(lists, items, strict=True))


def _parted(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments that are lists, and all others."""
    lists: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for name, value in step.bind(args, kwargs).items():
        if isinstance(value, Unmapped):
            constants[name] = value.value
        elif (items := _items(step, name, value)) is not None:
            lists[name] = items
        else:
            constants[name] = value
    if not lists:
        raise AuthoringError(
            f"Step {step.name} is mapped over nothing: give at least one list, or the result of a step that is one."
        )
    return lists, constants


def _items(step: Step, name: str, value: Any) -> list[Any] | tuple[Any, ...] | None:
    if isinstance(value, list | tuple):
        return value
    if not isinstance(value, Handle):
        return None
    loaded = value.load()
    if isinstance(loaded, str | bytes | dict) or not hasattr(loaded, "__iter__"):
        raise AuthoringError(
            f"Step {step.name} is mapped over '{name}', which is a {type(loaded).__name__} and no list. "
            "Write unmapped(...) around what every call is to get as it is."
        )
    return list(loaded)
