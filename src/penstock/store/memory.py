"""What this process remembers of the database, so that it need not be read again for every request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")

MOST = 1000
"""So many things are remembered of each kind."""


class Memory:
    """Things by kind and key, each as it was when the session began that read it; whatever changes a kind outdates all of it.

    Only where this process alone writes: elsewhere it remembers nothing.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._lock = threading.Lock()
        self._known: dict[str, dict[Hashable, tuple[int, Any]]] = {}
        self._outdated: dict[str, int] = {}
        self.age = 0
        """Rises with every change. A session keeps the one that it began with: what it reads is at least as new."""

    def known(self, kind: str, key: Hashable) -> Any:
        """What is remembered under this key; None if nothing is, or if it is out of date."""
        age, value = self._known.get(kind, {}).get(key, (-1, None))
        return value if age >= self._outdated.get(kind, 0) else None

    def keep(self, kind: str, key: Hashable, value: Any, age: int) -> None:
        """Remember something that a session has read which began at this age."""
        if not self._alone:
            return
        things = self._known.setdefault(kind, {})
        if len(things) >= MOST:
            things.clear()
        things[key] = (age, value)

    def amend(self, kind: str, key: Hashable, value: Any) -> None:
        """Put this in the place of what is remembered, as old as that is."""
        things = self._known.get(kind, {})
        if key in things:
            things[key] = (things[key][0], value)

    def outdate(self, kind: str) -> None:
        """Everything of this kind may be otherwise from now on."""
        with self._lock:
            self.age += 1
            self._outdated[kind] = self.age

    def forget(self) -> None:
        """Remember nothing: something that was read was not stored after all."""
        with self._lock:
            self.age += 1
            self._outdated |= dict.fromkeys([*self._outdated, *self._known], self.age)

    def recall(self, kind: str, key: Hashable, age: int, read: Callable[[], T]) -> T:
        """What is remembered under this key; else what `read` finds, for a session that began at this age."""
        known = self.known(kind, key)
        if known is None:
            known = read()
            self.keep(kind, key, known, age)
        return cast(T, known)
