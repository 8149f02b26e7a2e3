"""Where an argument comes from: a traced value as a `Binding`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum
from typing import Any

from penstock.author.annotations import class_text
from penstock.author.handle import Handle
from penstock.author.markers import PipelineParameter, name_of
from penstock.model.graph import Binding

_DEEPEST = 64
_LARGEST = 2**63


class _NotJson(Exception):
    """The value has no exact JSON form."""


def binding_of(value: Any) -> Binding:
    """The binding of a value that a pipeline function passed on or returned. Looks at exact types only."""
    kind = type(value)
    if kind is PipelineParameter:
        return Binding(kind="parameter", name=name_of(value))
    if kind is Handle:
        return Binding(kind="output", step=value.step, output=value.output)
    if _holds_edge(value, 0):
        items = value.values() if issubclass(kind, dict) else value
        keys = tuple(map(str, value)) if issubclass(kind, dict) else ()
        return Binding(kind="items", items=tuple(binding_of(item) for item in items), keys=keys)
    try:
        return Binding(kind="value", value=_json(value, 0))
    except _NotJson:
        return Binding(kind="opaque", type=class_text(kind))


def _holds_edge(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind is PipelineParameter or kind is Handle:
        return True
    if depth > _DEEPEST:
        return False
    return any(_holds_edge(item, depth + 1) for item in _inside(value, kind))


def _inside(value: Any, kind: type) -> Iterator[Any]:
    if issubclass(kind, dict):
        yield from value.values()
    elif issubclass(kind, (list, tuple)):
        yield from value


def _json(value: Any, depth: int) -> Any:
    """`value` in its JSON form, in base types. What another JSON library could read differently is refused."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, list | tuple) and depth < _DEEPEST:
        return [_json(item, depth + 1) for item in value]
    if isinstance(value, dict) and depth < _DEEPEST and all(isinstance(key, str) for key in value):
        return {_scalar(key): _json(item, depth + 1) for key, item in value.items()}
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value):
        return str.__str__(value)
    if isinstance(value, int) and -_LARGEST <= value < _LARGEST:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise _NotJson
