"""Secrets in the process of a run: read when a step needs them, and hidden from everything that is reported."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

from penstock.errors import NotFound, fault, pointer
from penstock.model.secret import is_reference, revealed
from penstock.runtime.journal import Reporter
from penstock.stack.contracts import SecretStore


class Secrets:
    """The secrets of one run. Every value that was read is hidden in the run's journal from then on."""

    def __init__(self, store: SecretStore, journal: Reporter) -> None:
        self._store = store
        self._journal = journal
        self._read: dict[str, Mapping[str, str]] = {}
        self._lock = threading.Lock()

    def variables(self, names: Iterable[str], wanted: Mapping[str, str]) -> dict[str, str]:
        """Environment variables: every key of the secrets with these names, and `wanted` with its references filled in."""
        found: dict[str, str] = {}
        for name in names:
            found |= self._values(name)
        return found | {name: revealed(text, self._value) for name, text in wanted.items()}

    def filled_in(self, value: Any) -> Any:
        """`value` with each `SecretStr` that holds a reference holding what it refers to; inside lists and records too."""
        if value is None or type(value) in (str, int, float, bool):
            return value
        hidden = getattr(value, "get_secret_value", None)
        if hidden is not None:
            text = hidden()
            return type(value)(revealed(text, self._value)) if isinstance(text, str) and is_reference(text) else value
        if isinstance(value, dict):
            return self._with_items(value, list(value.items()))
        if isinstance(value, list):
            return self._with_items(value, list(enumerate(value)))
        if isinstance(value, tuple | set | frozenset):
            items = [(item, self.filled_in(item)) for item in value]
            if all(new is old for old, new in items):
                return value
            make: Any = getattr(type(value), "_make", type(value))
            return make(new for _, new in items)
        return self._with_fields(value)

    def _with_items(self, value: Any, items: list[tuple[Any, Any]]) -> Any:
        """The list or mapping itself, if there is no secret in it; else a copy."""
        changed = {key: new for key, item in items if (new := self.filled_in(item)) is not item}
        if not changed:
            return value
        fresh = copy(value)
        for key, item in changed.items():
            fresh[key] = item
        return fresh

    def _with_fields(self, value: Any) -> Any:
        """The record itself, if there is no secret in it; else a copy, made without its `__init__`."""
        if isinstance(value, type):
            return value
        names = [one.name for one in fields(value)] if is_dataclass(value) else getattr(type(value), "model_fields", ())
        inside = {name: getattr(value, name, None) for name in names}
        changed = {name: new for name, item in inside.items() if (new := self.filled_in(item)) is not item}
        if not changed:
            return value
        fresh = copy(value)
        for name, item in changed.items():
            object.__setattr__(fresh, name, item)
        return fresh

    def _value(self, name: str, key: str) -> str:
        values = self._values(name)
        if key not in values:
            mistake = fault(pointer("secrets", name, key), "It has no such key.", allowed=values, given=key)
            raise NotFound(f"Secret '{name}' has no key '{key}'.", errors=[mistake])
        return values[key]

    def _values(self, name: str) -> Mapping[str, str]:
        with self._lock:
            if name not in self._read:
                self._read[name] = self._store.get(name)
                self._journal.hide(self._read[name].values())
            return self._read[name]
