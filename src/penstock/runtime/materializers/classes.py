"""Instances of classes that hold data: enums, named tuples, dataclasses, pydantic models; taken apart and put together."""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from penstock.errors import ArtifactError
from penstock.runtime.materializers.base import Unfit


class NotImported(Exception):  # an answer to a look-up; what it means is decided above
    """A stored value is of a class that this process does not have."""

    def __init__(self, name: str) -> None:
        module = name.partition(":")[0]
        super().__init__(
            f"The value is of the class {name}, which is not imported here. Import it from '{module}' before loading, or "
            "load with a `type_hint`."
        )


@dataclass(frozen=True)
class Family:
    """One sort of class: how its instances are taken apart, and put together from that."""

    name: str
    includes: Callable[[type], bool]
    state: Callable[[Any], Any]
    restore: Callable[[Any, Any], Any]

    def restored(self, name: str, state: Any) -> Any:
        """An instance of the class called `name`. Raises `NotImported`, or `ArtifactError` if it is of another sort."""
        found = _find(name)
        if found is None:
            raise NotImported(name)
        if not self.includes(found):
            raise ArtifactError(f"The value was stored as a {self.name}, but {name} is none: the class has changed.")
        return self.restore(found, state)


def family(kind: type) -> Family | None:
    """The sort of a class, None if it is of no sort that holds just data."""
    return next((one for one in FAMILIES.values() if one.includes(kind)), None)


def is_record(kind: type) -> bool:
    """Whether plain data can become an instance of the class: a dataclass or a pydantic model."""
    return _is_dataclass(kind) or _is_model(kind)


def reference(kind: type) -> str:
    """`module:Class`. Raises `Unfit` for a class that cannot be found by its name, such as one inside a function."""
    name = f"{kind.__module__}:{kind.__qualname__}"
    if _find(name) is not kind:
        raise Unfit
    return name


def validated(value: Any, wanted: Any) -> Any:
    """Plain data as the type `wanted`, by pydantic's rules. Raises `ArtifactError` if it does not fit."""
    from pydantic import PydanticUserError, TypeAdapter, ValidationError  # heavy, and only here is it needed

    try:
        return TypeAdapter(wanted).validate_python(value)
    except (ValidationError, PydanticUserError) as error:
        raise ArtifactError(f"The stored value does not fit {wanted}: {error}") from error


def _find(name: str) -> type | None:
    """The class if its module is imported: importing one would run code that the file has chosen."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, "__dict__", {}).get(part)  # no `getattr`: a module may import things when it is asked
    return found if isinstance(found, type) else None


def _enum_state(value: enum.Enum) -> dict[str, Any]:
    # A combination of flags has no name of its own.
    return {"name": value.name} if value.name in type(value).__members__ else {"value": value.value}


def _restore_enum(kind: Any, state: Any) -> Any:
    try:
        return kind[state["name"]] if "name" in state else kind(state["value"])
    except (KeyError, ValueError):
        raise ArtifactError(f"{kind.__qualname__} has no member {state} any more.") from None


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and hasattr(kind, "_make")


def _named_tuple_state(value: Any) -> dict[str, Any]:
    if _lasting(value):
        raise Unfit
    return dict(zip(value._fields, value, strict=True))


def _restore_named_tuple(kind: Any, state: Any) -> Any:
    if list(state) == list(kind._fields):
        return tuple.__new__(kind, state.values())
    return _built(kind, state)


def _is_dataclass(kind: type) -> bool:
    # Not one that is a list or a number as well: its fields would not be all of it.
    return dataclasses.is_dataclass(kind) and kind.__new__ is object.__new__


def _dataclass_state(value: Any) -> dict[str, Any]:
    try:
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)} | _lasting(value)
    except AttributeError:
        raise Unfit from None  # a field that was never set


def _restore_dataclass(kind: Any, state: Any) -> Any:
    if not {field.name for field in dataclasses.fields(kind)} <= state.keys():
        return _built(kind, state)
    value = object.__new__(kind)
    for name, item in state.items():
        object.__setattr__(value, name, item)  # a frozen one refuses its own
    return value


def _is_model(kind: type) -> bool:
    return "pydantic" in sys.modules and issubclass(kind, sys.modules["pydantic"].BaseModel)


def _model_state(value: Any) -> dict[str, Any]:
    fields = _lasting(value)
    if fields.keys() != type(value).model_fields.keys():
        raise Unfit  # made without validation, and not whole
    return {
        "fields": fields,
        "extra": value.__pydantic_extra__,
        "set": value.__pydantic_fields_set__,
        "private": value.__pydantic_private__,
    }


def _restore_model(kind: Any, state: Any) -> Any:
    if state["fields"].keys() != kind.model_fields.keys():
        return validated(state["fields"] | (state["extra"] or {}), kind)
    value = kind.__new__(kind)
    value.__setstate__(
        {
            "__dict__": state["fields"],
            "__pydantic_extra__": state["extra"],
            "__pydantic_fields_set__": state["set"],
            "__pydantic_private__": state["private"],
        }
    )
    return value


def _lasting(value: Any) -> dict[str, Any]:
    """The instance's own attributes but those that the class works out again when asked."""
    kind = type(value)
    own = getattr(value, "__dict__", {})
    return {name: item for name, item in own.items() if not isinstance(getattr(kind, name, None), cached_property)}


def _built(kind: Any, state: dict[str, Any]) -> Any:
    """An instance by the constructor: the class has other fields by now, and knows what that means."""
    try:
        return kind(**state)
    except Exception as error:
        raise ArtifactError(
            f"The value was stored when {kind.__qualname__} had the fields {', '.join(state)}, and it has others now: {error}"
        ) from error


FAMILIES: dict[str, Family] = {
    one.name: one
    for one in (
        Family("enum", lambda kind: issubclass(kind, enum.Enum), _enum_state, _restore_enum),
        Family("namedtuple", _is_named_tuple, _named_tuple_state, _restore_named_tuple),
        Family("dataclass", _is_dataclass, _dataclass_state, _restore_dataclass),
        Family("model", _is_model, _model_state, _restore_model),
    )
}
