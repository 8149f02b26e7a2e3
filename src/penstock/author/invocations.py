"""How the invocations of a pipeline are numbered: alike when it is traced and when it runs."""

from __future__ import annotations

from threading import Lock

from penstock.author.declaration import checked_name
from penstock.errors import AuthoringError


class InvocationIds:
    """Gives out ids: the step's name, for repeats `name_2`, `name_3`, or the id that was asked for. Thread safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._used: set[str] = set()
        self._counts: dict[str, int] = {}

    def allocate(self, name: str, wanted: str | None = None) -> str:
        """The id of the next invocation of the step `name`. Raises `AuthoringError` if `wanted` is in use or unfit."""
        if wanted is not None:
            checked_name("an invocation", wanted)
        with self._lock:
            if wanted is None:
                wanted = self._next(name)
            elif wanted in self._used:
                raise AuthoringError(f"id={wanted!r} of step {name}: another invocation of this pipeline has this id.")
            self._used.add(wanted)
            return wanted

    def _next(self, name: str) -> str:
        while True:
            count = self._counts[name] = self._counts.get(name, 0) + 1
            free = name if count == 1 else f"{name}_{count}"
            if free not in self._used:
                return free
