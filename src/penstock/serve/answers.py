"""What a service answers: values as JSON, the envelope of a result, and problems."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any

import msgspec

from penstock.errors import PenstockError

JSON = [(b"content-type", b"application/json")]
PROBLEM = b"application/problem+json"


def as_json(value: Any) -> bytes:
    """`value` as JSON: data of the standard library, records, arrays and tables; what is none of it, by its type.

    Numbers that JSON does not have (NaN, infinities) become null.
    """
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        return msgspec.json.encode(_sane(value, 0), enc_hook=_plain)


def _plain(value: Any) -> Any:
    """What stands for an object that JSON does not know."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    special = _TABLES.get(package)
    if special is not None:
        found = special(value)
        if found is not value:
            return found
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        return list(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float):
        return float(value) if isinstance(value, float) else int(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, complex):
        return [value.real, value.imag]
    return {"type": f"{kind.__module__}.{kind.__qualname__}"}


def _numpy(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else _listed(value)


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _frame(value: Any) -> Any:
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return value.to_dict("records")
    if hasattr(value, "to_dicts"):
        return value.to_dicts()
    if hasattr(value, "to_pylist"):
        return value.to_pylist()
    if hasattr(value, "to_list"):
        return value.to_list()
    return value.isoformat() if hasattr(value, "isoformat") else value


_TABLES: dict[str, Callable[[Any], Any]] = {
    "numpy": _numpy,
    "torch": _listed,
    "pandas": _frame,
    "polars": _frame,
    "pyarrow": _frame,
}


def _sane(value: Any, depth: int) -> Any:
    """`value` without what made the encoder give up: keys that are no text, numbers without bounds, halves of characters."""
    if depth > 100:
        return None
    if isinstance(value, dict):
        return {_key(key): _sane(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_sane(item, depth + 1) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError):
        found = _plain(value)
        return {"type": type(value).__qualname__} if found is value else _sane(found, depth + 1)
    return value


def _key(key: Any) -> str:
    return _sane(key, 100) if isinstance(key, str) else str(key)


def problem(error: PenstockError, path: str = "") -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body for an error that is no result: bad input, too much to do, no key."""
    headers = [(b"content-type", PROBLEM)]
    given = {name.lower(): value for name, value in error.headers.items()}
    if error.status == 401:
        given.setdefault("www-authenticate", "Bearer")
    if error.status in (429, 503):
        given.setdefault("retry-after", "1")
    headers += [(name.encode(), value.encode()) for name, value in given.items()]
    return error.status, headers, msgspec.json.encode(error.problem(path))
