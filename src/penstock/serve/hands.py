"""The threads that carry out requests."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

from penstock.errors import Unavailable

log = logging.getLogger("penstock.serve")

T = TypeVar("T")


class Hands(Generic[T]):
    """At most `most` threads, each made when all others are busy. They say on `loop`, where this is used, what came of it.

    What an executor does besides (a future with a lock of its own, chained to one of the loop's) costs as much as a small step.
    """

    def __init__(self, most: int, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._most = most
        self._name = name
        self._loop = loop
        self._waiting: SimpleQueue[tuple[Callable[[], T], Callable[[T], None]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = 0
        self._closed = False

    def carry_out(self, work: Callable[[], T], ended: Callable[[T], None]) -> None:
        """Have `work` done, which does not raise, and `ended` called with what it returns.

        Raises `Unavailable` once closed, and where there is no thread and none can be made.
        """
        if self._closed:
            raise Unavailable("This service is stopping.", headers={"Retry-After": "1"})
        if len(self._threads) < min(self._open + 1, self._most):
            self._one_more()
        self._open += 1
        self._waiting.put((work, ended))

    def _one_more(self) -> None:
        # A daemon: work that nothing can stop must not keep a process that is to end.
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the machine, or the container, has no more of them
            if not self._threads:
                raise Unavailable("This service can start no thread.", headers={"Retry-After": "1"}) from error
            return
        self._threads.append(thread)

    @property
    def waiting(self) -> int:
        """How much of what was taken nobody has begun; below 0: so many could begin at once."""
        return self._open - self._most

    def leave(self) -> None:
        """Take nothing more."""
        self._closed = True
        for _ in self._threads:
            self._waiting.put(None)

    def join(self) -> None:
        """After `leave`, and in another thread than the loop's: return when all that was taken is done."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (taken := self._waiting.get()) is not None:
            work, ended = taken
            try:
                self._loop.call_soon_threadsafe(self._ended, ended, work())
            except BaseException:  # the thread must live on; whoever waits is answered when the time is up
                log.exception("a thread that carries out requests")
                with suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(self._free)

    def _ended(self, ended: Callable[[T], None], result: T) -> None:
        self._free()
        ended(result)

    def _free(self) -> None:
        self._open -= 1
