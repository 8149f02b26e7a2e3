"""What is shown of a value without loading it: a few facts, always JSON, always small."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

from penstock.runtime.lines import storable

LIMIT = 8 * 1024
"""Bytes of JSON that the facts about one value may take."""

_TEXT = 400
_ITEMS = 100
_DEPTH = 5


def facts(given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` as JSON of at most `LIMIT` bytes: texts are cut, what does not fit is named in `omitted`. Never raises."""
    try:
        safe: dict[str, Any] = plain(given)
        omitted = []
        while len(msgspec.json.encode(safe)) > LIMIT:
            largest = max(
                (key for key in safe if key != "omitted"), key=lambda key: len(msgspec.json.encode(safe[key]))
            )
            del safe[largest]
            omitted.append(largest)
            safe["omitted"] = omitted[:_ITEMS]
    except Exception as error:  # noqa: BLE001  # a value whose preview fails is still a value worth keeping
        return {"omitted": f"The preview failed: {type(error).__name__}."}
    return safe


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as JSON to look at, not to load: long things are cut, unknown things are shown by their `repr`."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return shortened(str(value))
    if isinstance(value, int):
        return int(value) if -(2**53) <= value <= 2**53 else shortened(str(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    if depth < _DEPTH and isinstance(value, Mapping):
        return {shortened(str(key)): plain(item, depth + 1) for key, item in islice(value.items(), _ITEMS)}
    if depth < _DEPTH and isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value[:_ITEMS]]
    return described(value)


def shortened(text: str, limit: int = _TEXT) -> str:
    """The beginning of `text`, fit to be stored anywhere."""
    return storable(text if len(text) <= limit else text[:limit] + "…")


def described(value: Any) -> str:
    """The beginning of the `repr`, or the type where there is none to be had."""
    try:
        return shortened(repr(value))
    except Exception:  # noqa: BLE001  # a class may do anything in its `__repr__`
        return f"<{type(value).__qualname__}>"
