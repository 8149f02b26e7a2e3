"""A queue for the one pen: threads write in the order in which they asked."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """A lock that is handed over in the order of asking.

    A plain `threading.Lock` lets whoever runs first take it, so that one thread may wait without bound.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def take(self, timeout: float) -> bool:
        """Wait for this thread's turn, at most `timeout` seconds; whether it came. Not re-entrant."""
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        if gate.acquire(timeout=timeout):
            return True
        with self._guard:
            if gate in self._waiting:
                self._waiting.remove(gate)
                return False
        return True  # the turn came between the time-out and the look: it is ours

    def give(self) -> None:
        """End this turn: the one who has waited longest is next."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
