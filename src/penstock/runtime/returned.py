"""What a pipeline function returned, as the JSON that the record of its run shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.author.handle import Handle


def returned_as_json(value: Any, of_step: Callable[[Handle], Any]) -> Any:
    """JSON as it is, and for each result of a step what `of_step` says."""
    if isinstance(value, dict):
        return {str(key): returned_as_json(item, of_step) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [returned_as_json(item, of_step) for item in value]
    return of_step(value) if isinstance(value, Handle) else _plain(value)


def _plain(value: Any) -> Any:
    """A constant: JSON as it is, everything else by the name of its type."""
    is_json = value is None or isinstance(value, str | int | float | bool)
    return value if is_json else {"type": f"{type(value).__module__}.{type(value).__qualname__}"}
