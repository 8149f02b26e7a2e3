"""Wake-ups: somebody changed a thing, whoever waits for it looks again; also in other servers, where these are told.

A ring carries no data and may be missed by nobody who subscribed before looking. What is true stands in the store.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUEUE = "queue"
"""Topic: a run was queued, or may be claimed now. Every run has its own id as a topic besides."""

SLOT = "slot"
"""Topic: a slot became free, or more of them may be used."""

ENDED = "ended"
"""Topic: a run has ended, or somebody is to be told (again) of the end of one."""


class Subscription:
    """One waiter. `wait` is for threads, `wait_async` for coroutines; each ring since the last wait ends one at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._rung = threading.Event()
        self._rung_async = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter; from any thread."""
        if self._loop is None:
            self._rung.set()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._rung_async.set)

    def wait(self, timeout: float | None) -> bool:
        """Wait for a ring for at most `timeout` seconds; whether there was one."""
        rung = self._rung.wait(timeout)
        self._rung.clear()
        return rung

    async def wait_async(self, timeout: float | None) -> bool:
        """Like `wait`, without blocking the event loop."""
        try:
            await asyncio.wait_for(self._rung_async.wait(), timeout)
        except TimeoutError:
            return False
        self._rung_async.clear()
        return True


class Bell:
    """Topics and who waits for them."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._lock = threading.Lock()
        self.carry: Callable[..., object] = _nobody
        """Called with the topics of each ring, to have them heard in the other servers. It returns at once."""

    @contextmanager
    def subscribe(self, topic: str, loop: asyncio.AbstractEventLoop | None = None) -> Iterator[Subscription]:
        """A subscription for as long as the block runs. Coroutines pass their running `loop`."""
        subscription = Subscription(loop)
        with self._lock:
            self._waiting[topic].add(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._waiting[topic].discard(subscription)
                if not self._waiting[topic]:
                    del self._waiting[topic]

    def ring_all(self) -> None:
        """Wake everybody in this process, whatever they wait for."""
        with self._lock:
            topics = list(self._waiting)
        self.ring_here(*topics)

    def ring(self, *topics: str) -> None:
        """Wake everybody who waits for one of these topics."""
        self.ring_here(*topics)
        self.carry(*topics)

    def ring_here(self, *topics: str) -> None:
        """Wake those in this process who wait for one of these topics."""
        with self._lock:
            waiting = [one for topic in topics for one in self._waiting.get(topic, ())]
        for subscription in waiting:
            subscription.ring()


def _nobody(*_: str) -> None:
    """There is no other server."""
