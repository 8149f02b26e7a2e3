"""A queue for the one pen: threads write in the order in which they asked, and may leave one another a page that is open."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turn(Generic[T]):
    """One who waits for the pen, or has it. `left` is what the one before has left open, if it did."""

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone
        self.left: T | None = None
        self._gate = threading.Lock()
        self._gate.acquire()

    def come(self, left: T | None) -> None:
        """Now it is this one's turn."""
        self.left = left
        self._gate.release()

    def wait(self, timeout: float) -> bool:
        """Wait until the turn comes, at most `timeout` seconds; whether it has come."""
        return self._gate.acquire(timeout=timeout)


class Turns(Generic[T]):
    """A lock that is handed over in the order of asking.

    A plain `threading.Lock` lets whoever runs first take it, so that one thread may wait without bound.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[Turn[T]] = deque()

    def take(self, timeout: float, *, alone: bool = False) -> Turn[T] | None:
        """Wait for this thread's turn, at most `timeout` seconds; None if it did not come. Not re-entrant.

        With `alone` nothing is left open for it.
        """
        turn: Turn[T] = Turn(alone=alone)
        with self._guard:
            if not self._taken:
                self._taken = True
                return turn
            self._waiting.append(turn)
        if turn.wait(timeout):
            return turn
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return None
        return turn  # it came between the time-out and the look: it is ours

    def give(self) -> None:
        """End this turn: the one who has waited longest is next."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().come(None)
            else:
                self._taken = False

    def leave(self, left: T) -> bool:
        """End this turn, leaving something open for the next one; False, and the turn goes on, if nobody takes it."""
        with self._guard:
            if not self._waiting or self._waiting[0].alone:
                return False
            self._waiting.popleft().come(left)
            return True
