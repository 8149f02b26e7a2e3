"""The pen: what many requests want to write at once is written by one thread, and is on the disk after one commit."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from penstock.store.session import Database, WriteSession

T = TypeVar("T")

MOST = 64
"""How much is written in a row before those who wait are told."""


@dataclass
class Wish:
    """Something to be written, for a request that waits for it on its event loop."""

    work: Callable[[WriteSession], Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def write(self, session: WriteSession) -> None:
        """Do it."""
        self.result = self.work(session)

    def tell(self) -> None:
        """Have the request go on, unless it has gone away. On its own loop only."""
        if self.answer.done():
            return
        if self.error is not None:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.result)


class Pen:
    """For coroutines. Handing a transaction to a thread of its own costs more than to write it; here many share the way."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._wanted: SimpleQueue[Wish | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    async def write(self, work: Callable[[WriteSession], T]) -> T:
        """What `work` returns, once everything that it has written in its session is stored; raises what it raises.

        Where several can write at once, they do. What was handed over is written even if its request goes away.
        """
        if not self._db.one_writer:
            return await asyncio.to_thread(self._db.do, work)
        self._begin()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._wanted.put(Wish(work, loop, answer))
        return await answer

    def close(self) -> None:
        """Let the thread go, once it has written what it was given. It comes back if there is more."""
        with self._lock:
            if self._thread is not None:
                self._wanted.put(None)
                self._thread.join()
                self._thread = None

    def _begin(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._serve, name="penstock-pen", daemon=True)
                    self._thread.start()

    def _serve(self) -> None:
        leaving = False
        while not leaving:
            wanted = [self._wanted.get()]
            while len(wanted) < MOST and not self._wanted.empty():
                wanted.append(self._wanted.get())
            leaving = None in wanted
            self._write([one for one in wanted if one is not None])

    def _write(self, wanted: list[Wish]) -> None:
        try:
            told = self._db.write_each([one.write for one in wanted])
        except BaseException as failure:  # noqa: BLE001 - whoever waits raises it
            told = [failure] * len(wanted)
        waiting: defaultdict[asyncio.AbstractEventLoop, list[Wish]] = defaultdict(list)
        for one, error in zip(wanted, told, strict=True):
            one.error = error
            waiting[one.loop].append(one)
        for loop, wishes in waiting.items():
            with suppress(RuntimeError):  # a loop that has ended: nobody waits there any more
                loop.call_soon_threadsafe(_tell, wishes)  # one wake-up for all


def _tell(wishes: list[Wish]) -> None:
    for one in wishes:
        one.tell()
