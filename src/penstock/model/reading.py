"""JSON as a record: strict, with every mistake, its place, and the names that are allowed there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from penstock.errors import InvalidInput, fault, pointer

T = TypeVar("T")

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def read(kind: type[T], given: object, *, what: str, at: tuple[str | int, ...] = ()) -> T:
    """`given`, made of JSON values, as the dataclass `kind`. Records inside it may be there already made.

    Raises `InvalidInput` with all mistakes: unknown names with the nearest one, values of another type. `what` names the
    whole in its first line, and pointers begin with `at`.
    """
    faults: list[dict[str, Any]] = []
    made = _read(kind, given, at, faults)
    if faults:
        raise InvalidInput(f"{what} is not right.", errors=faults)
    return made  # type: ignore[no-any-return]


def _read(kind: Any, given: Any, at: tuple[str | int, ...], faults: list[dict[str, Any]]) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return given
    if origin in (Union, UnionType):
        return _optional(parts, given, at, faults)
    if origin is Literal:
        if given not in parts:
            faults.append(fault(pointer(*at), f"{given!r} is not one of the values.", allowed=parts, given=str(given)))
        return given
    if origin is dict:
        return _mapping(parts[1], given, at, faults)
    if origin is tuple:
        return _list(parts[0], given, at, faults)
    if is_dataclass(kind):
        return _record(kind, given, at, faults)
    return _scalar(kind, given, at, faults)


def _optional(parts: tuple[Any, ...], given: Any, at: tuple[str | int, ...], faults: list[dict[str, Any]]) -> Any:
    if given is None and NoneType in parts:
        return None
    (kind,) = (one for one in parts if one is not NoneType)
    return _read(kind, given, at, faults)


def _record(kind: Any, given: Any, at: tuple[str | int, ...], faults: list[dict[str, Any]]) -> Any:
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        faults.append(fault(pointer(*at), f"Expected a mapping with {', '.join(_members(kind))}, not {given!r}."))
        return None
    known = _members(kind)
    unknown = [name for name in given if name not in known]
    faults += [
        fault(pointer(*at, str(name)), "There is no such field.", allowed=known, given=str(name)) for name in unknown
    ]
    before = len(faults)
    values = {name: _read(known[name], value, (*at, name), faults) for name, value in given.items() if name in known}
    missing = [one.name for one in fields(kind) if _required(one) and one.name not in values]
    faults += [fault(pointer(*at, name), "A value is needed.") for name in missing]
    if len(faults) > before:
        return None
    try:
        return kind(**values)
    except InvalidInput as error:  # the record has rules of its own
        faults += [{**one, "pointer": pointer(*at) + one["pointer"]} for one in error.errors]
        return None


def _mapping(kind: Any, given: Any, at: tuple[str | int, ...], faults: list[dict[str, Any]]) -> Any:
    if not isinstance(given, Mapping):
        faults.append(fault(pointer(*at), f"Expected a mapping, not {given!r}."))
        return {}
    wrong = [key for key in given if not isinstance(key, str)]
    faults += [fault(pointer(*at), f"{key!r} cannot be a name: names are text.") for key in wrong]
    return {key: _read(kind, value, (*at, str(key)), faults) for key, value in given.items()}


def _list(kind: Any, given: Any, at: tuple[str | int, ...], faults: list[dict[str, Any]]) -> Any:
    if isinstance(given, str | Mapping) or not isinstance(given, list | tuple | set | frozenset):
        faults.append(fault(pointer(*at), f"Expected a list, not {given!r}."))
        return ()
    return tuple(_read(kind, item, (*at, index), faults) for index, item in enumerate(given))


def _scalar(kind: Any, given: Any, at: tuple[str | int, ...], faults: list[dict[str, Any]]) -> Any:
    fits = isinstance(given, int | float) if kind is float else isinstance(given, kind)
    if not fits or (isinstance(given, bool) and kind is not bool):
        faults.append(fault(pointer(*at), f"Expected {_WORDS.get(kind, kind.__name__)}, not {given!r}."))
    return given


@cache
def _members(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


def _required(one: Any) -> bool:
    return one.default is MISSING and one.default_factory is MISSING
