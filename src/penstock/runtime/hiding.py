"""Secrets in what a run tells of itself: nothing of an event that user code could write shows one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from penstock.model.run import Event
from penstock.runtime.mask import Mask


def without_secrets(mask: Mask, event: Event) -> Event:
    """The event as it may be told. Names of steps and outputs, numbers, times and digests stay what they are."""
    if not mask:
        return event
    told = {name: getattr(event, name) for name in ("reason", "tags", "parameters", "values", "metadata")}
    changes: dict[str, Any] = {name: masked(mask, value) for name, value in told.items()}
    if event.lines:
        changes["lines"] = tuple(replace(line, text=masked(mask, line.text)) for line in event.lines)
    if event.error is not None:
        error = event.error
        message, traceback = masked(mask, error.message), masked(mask, error.traceback)
        changes["error"] = replace(error, message=message, traceback=traceback)
    if event.artifact is not None:
        facts = {name: masked(mask, getattr(event.artifact, name)) for name in ("metadata", "user_metadata")}
        changes["artifact"] = replace(event.artifact, **facts)
    return replace(event, **changes)


def masked(mask: Mask, value: Any, *, keys: bool = False) -> Any:
    """`value` without secrets in its texts, and in names inside it; those on top are ours."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {masked(mask, key) if keys else key: masked(mask, item, keys=True) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(masked(mask, item, keys=True) for item in value)
    return value
