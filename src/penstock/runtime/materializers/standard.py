"""The standard library's data types, and numpy's numbers, taken apart into what JSON nearly knows, and put together."""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from penstock.errors import ArtifactError
from penstock.runtime.materializers.base import Unfit

_OFFSETS = frozenset({"datetime.timezone", "pydantic_core._pydantic_core.TzInfo"})
"""Time zones that are an offset and no more: the ISO form says it all, and they all come back as `datetime.timezone`."""

UNORDERED = frozenset({"set", "frozenset"})
"""Equal sets must have equal bytes, because an artifact is known by its digest: whoever writes one sorts its items."""


def knows(kind: type) -> bool:
    """Whether values of exactly this class can be taken apart."""
    return tag(kind) in _FORMS


def tag(kind: type) -> str:
    """The name that stands for a class in a file: its own, with the module unless that is `builtins`."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def state(value: Any) -> Any:
    """What `value` consists of: lists and scalars, with values of any class in them. Raises `Unfit` where that is not all."""
    return _FORMS[tag(type(value))][0](value)


def restored(name: str, state: Any) -> Any:
    """The value of the class with this tag that has this state."""
    if name not in _FORMS:
        raise ArtifactError(f"it holds a '{name}', which this version of Penstock does not know: update it")
    module, _, attribute = name.rpartition(".")
    # By name, so that nothing of this is imported where no value of it comes by. Only names of `_FORMS` get here.
    return _FORMS[name][1](getattr(import_module(module or "builtins"), attribute), state)


def numpy_number(value: Any) -> dict[str, Any] | None:
    """A number of numpy as JSON, None if `value` is something else. Such numbers are in the results of every metric."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic):
        return None
    dtype = value.dtype
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.isbuiltin != 1:
        return None
    return {"dtype": dtype.name, "value": value.item() if math.isfinite(value) else value.tobytes().hex()}


def restored_numpy_number(described: dict[str, Any]) -> Any:
    """The number that `numpy_number` described."""
    import numpy as np  # only where a file holds a number of numpy

    dtype, value = np.dtype(described["dtype"]), described["value"]
    return np.frombuffer(bytes.fromhex(value), dtype)[0] if isinstance(value, str) else dtype.type(value)


def _pairs(value: Any) -> list[Any]:
    return [[key, item] for key, item in value.items()]


def _from_state(kind: Any, state: Any) -> Any:
    return kind(state)


def _from_parts(kind: Any, state: Any) -> Any:
    return kind(*state)


def _from_pairs(kind: Any, state: Any) -> Any:
    return kind(dict(state))


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode()


def _from_base64(kind: Any, state: Any) -> Any:
    return kind(base64.b64decode(state))


def _moment(value: Any) -> dict[str, Any]:
    """A `datetime` or `time`: ISO 8601, and the name of the time zone where there is one."""
    zone = value.tzinfo
    if zone is None or tag(type(zone)) in _OFFSETS:
        return {"iso": value.isoformat(), "fold": value.fold}
    if tag(type(zone)) != "zoneinfo.ZoneInfo" or zone.key is None:
        raise Unfit  # a class of somebody else's: its name says nothing about its rules
    return {"iso": value.replace(tzinfo=None).isoformat(), "fold": value.fold, "zone": zone.key}


def _from_moment(kind: Any, state: Any) -> Any:
    value = kind.fromisoformat(state["iso"]).replace(fold=state["fold"])
    if "zone" not in state:
        return value
    from zoneinfo import ZoneInfo  # only where a file names a time zone

    return value.replace(tzinfo=ZoneInfo(state["zone"]))


_FACTORIES: dict[str, Any] = {one.__name__: one for one in (list, dict, set, int, float, str)}


def _defaultdict(value: Any) -> list[Any]:
    factory = value.default_factory
    if factory is not None and factory not in _FACTORIES.values():
        raise Unfit
    return [factory and factory.__name__, _pairs(value)]


def _from_defaultdict(kind: Any, state: Any) -> Any:
    return kind(_FACTORIES.get(state[0]), dict(state[1]))


_FORMS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "tuple": (list, _from_state),
    "set": (list, _from_state),
    "frozenset": (list, _from_state),
    "complex": (lambda value: [value.real, value.imag], _from_parts),
    "range": (lambda value: [value.start, value.stop, value.step], _from_parts),
    "bytes": (_base64, _from_base64),
    "bytearray": (_base64, _from_base64),
    "collections.OrderedDict": (_pairs, _from_pairs),
    "collections.Counter": (_pairs, _from_pairs),
    "collections.defaultdict": (_defaultdict, _from_defaultdict),
    "collections.deque": (lambda value: [list(value), value.maxlen], _from_parts),
    "datetime.date": (str, lambda kind, state: kind.fromisoformat(state)),
    "datetime.datetime": (_moment, _from_moment),
    "datetime.time": (_moment, _from_moment),
    "datetime.timedelta": (lambda value: [value.days, value.seconds, value.microseconds], _from_parts),
    "decimal.Decimal": (str, _from_state),
    "fractions.Fraction": (lambda value: [value.numerator, value.denominator], _from_parts),
    # A path inside a value is a name and no more; only a path that is the value itself stands for its content.
    "pathlib.PosixPath": (str, _from_state),
    "pathlib.PurePosixPath": (str, _from_state),
    "uuid.UUID": (str, _from_state),
}
