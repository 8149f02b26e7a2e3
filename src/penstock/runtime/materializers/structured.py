"""Data that Python writes down: JSON values as they are, and everything built from the standard types, tagged.

A file holds plain JSON wherever that says it all. What JSON cannot say becomes an object with a `$type`: a tuple, a set, a
date, a NaN, an enum, a named tuple, a dataclass, a pydantic model. So a value comes back equal and of the same class whether
or not anybody annotated it, and no third-party package is needed to read plain data.

Loading runs no code that the file names: classes are looked up among those that are imported already, must be of the
kind that the tag says, and get their fields back without a call of `__init__` or a validator (as pickle would do it).
Only if the class has other fields by now than it had, its own constructor or validation decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import isfinite
from types import NoneType
from typing import Any

import msgspec

from penstock.errors import ArtifactError
from penstock.runtime.materializers import classes, standard
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.preview import shortened

TAG = "$type"

_FILE = "value.json"
_SCALARS = frozenset({str, int, float, bool, NoneType})
_CAREFREE = _SCALARS - {float}
_SIZED = frozenset({list, dict, tuple, set, frozenset})
_SHOWN = 400

Part = Callable[[Any], dict[str, Any]]


class Structured(Materializer):
    """JSON values, the standard library's data types, enums, named tuples, dataclasses, pydantic models; nested at will."""

    name = "structured"

    def handles(self, kind: type) -> bool:
        """Whether it is one of those classes, or a scalar of numpy."""
        if kind in _SCALARS or kind in (list, dict) or standard.knows(kind) or classes.family(kind) is not None:
            return True
        return kind.__module__ == "numpy" and kind.__name__ == "generic"

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the value; arrays, data frames and the like inside it become files of their own."""
        if not self.handles(type(value)) and standard.numpy_number(value) is None:
            raise Unfit  # of a subclass, which is more than its base
        try:
            data = encoded(value, sink.part)
        except RecursionError:
            raise Unfit from None  # a value that contains itself; pickle can follow that
        sink.write(_FILE, data)
        facts: dict[str, Any] = {"preview": shortened(data[: _SHOWN + 1].decode(errors="ignore"), _SHOWN)}
        return facts | {"length": len(value)} if type(value) in _SIZED else facts

    def load(self, files: Files, type_hint: Any) -> Any:
        """The value. With a class or annotation as `type_hint`, plain data and unknown classes become that type."""
        data = files.read(_FILE)
        try:
            value = decoded(data, files.part)
        except classes.NotImported as missing:
            if type_hint is None:
                raise ArtifactError(str(missing)) from None
            return classes.validated(decoded(data, files.part, as_data=True), type_hint)
        if type(value) is dict and isinstance(type_hint, type) and classes.is_record(type_hint):
            return classes.validated(value, type_hint)
        return value


def encoded(value: Any, part: Part) -> bytes:
    """`value` as JSON text. `part` keeps what is not structured and returns a mark for it, or raises `Unfit`."""
    if is_json(value):
        try:
            return msgspec.json.encode(value)
        except (OverflowError, UnicodeEncodeError):
            pass  # an integer over 64 bits, a lone surrogate: both can be tagged
    return msgspec.json.encode(_Encoder(part).encode(value))


def decoded(data: bytes, part: Callable[[dict[str, Any]], Any], *, as_data: bool = False) -> Any:
    """The value of a text that `encoded` made. With `as_data`, instances of classes are given as mappings and lists."""
    value = msgspec.json.decode(data)
    if b'"$type"' not in data:
        return value  # plain JSON: nothing to look for
    return _Decoder(part, as_data).decode(value)


def as_json(data: bytes) -> Any:
    """The value of such a text as JSON has it: tuples as lists, numbers of numpy as numbers. Raises `Unfit` for others."""
    value = msgspec.json.decode(data)
    return _untagged(value) if b'"$type"' in data else value


def is_json(value: Any) -> bool:
    """Whether JSON gives `value` back exactly: no subclasses, no tuples, no NaN, only strings as keys."""
    kind = type(value)
    if kind is dict:
        return set(map(type, value)) <= {str} and TAG not in value and _all_json(value.values())
    if kind is list:
        return _all_json(value)
    return kind in _SCALARS and (kind is not float or isfinite(value))


def _all_json(values: Collection[Any]) -> bool:
    """`is_json` of every one, with no Python code run for each of a long list of scalars."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return all(map(isfinite, values))
    return kinds <= _CAREFREE or all(map(is_json, values))


class _Encoder:
    """One value on its way to JSON."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def encode(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return value if _encodable(value) else {TAG: "str", "value": value.encode("utf-16", "surrogatepass").hex()}
        if kind is int:
            return value if -(2**63) <= value < 2**64 else {TAG: "int", "value": hex(value)}
        if kind is float:
            return value if isfinite(value) else {TAG: "float", "value": repr(value)}
        if kind is bool or value is None:
            return value
        if kind is list:
            return [self.encode(item) for item in value]
        if kind is dict:
            return self._mapping(value)
        return self._standard(value) if standard.knows(kind) else self._instance(value)

    def _mapping(self, value: dict[Any, Any]) -> dict[str, Any]:
        if TAG not in value and all(type(key) is str and _encodable(key) for key in value):
            return {key: self.encode(item) for key, item in value.items()}
        return {TAG: "dict", "value": [[self.encode(key), self.encode(item)] for key, item in value.items()]}

    def _standard(self, value: Any) -> dict[str, Any]:
        tag, state = standard.tag(type(value)), self.encode(standard.state(value))
        return {TAG: tag, "value": sorted(state, key=msgspec.json.encode) if tag in standard.UNORDERED else state}

    def _instance(self, value: Any) -> dict[str, Any]:
        number = standard.numpy_number(value)
        if number is not None:
            return {TAG: "numpy", **number}
        family = classes.family(type(value))
        if family is None:
            return {TAG: "part", **self._part(value)}
        return {TAG: family.name, "class": classes.reference(type(value)), "value": self.encode(family.state(value))}


class _Decoder:
    """One value on its way back."""

    def __init__(self, part: Callable[[dict[str, Any]], Any], as_data: bool) -> None:
        self._part = part
        self._as_data = as_data

    def decode(self, value: Any) -> Any:
        if type(value) is list:
            return [self.decode(item) for item in value]
        if type(value) is not dict:
            return value
        tag = value.get(TAG)
        if tag is None:
            return {key: self.decode(item) for key, item in value.items()}
        return self._tagged(tag, value)

    def _tagged(self, tag: str, value: dict[str, Any]) -> Any:
        match tag:
            case "str":
                return bytes.fromhex(value["value"]).decode("utf-16", "surrogatepass")
            case "int":
                return int(value["value"], 16)
            case "float":
                return float(value["value"])
            case "dict":
                return {self.decode(key): self.decode(item) for key, item in value["value"]}
            case "numpy":
                return standard.restored_numpy_number(value)
            case "part":
                return self._part(value)
        if tag in classes.FAMILIES:
            state = self.decode(value["value"])
            return state if self._as_data else classes.FAMILIES[tag].restored(value["class"], state)
        return standard.restored(tag, self.decode(value["value"]))


def _untagged(value: Any) -> Any:
    if type(value) is list:
        return [_untagged(item) for item in value]
    if type(value) is not dict:
        return value
    tag = value.get(TAG)
    if tag is None:
        return {key: _untagged(item) for key, item in value.items()}
    if tag == "tuple" or (tag == "numpy" and type(value["value"]) is not str):
        return _untagged(value["value"])
    if tag == "int":
        return int(value["value"], 16)
    if tag == "dict" and all(type(key) is str for key, _ in value["value"]):  # JSON with a name that is our own mark
        return {key: _untagged(item) for key, item in value["value"]}
    raise Unfit


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
