"""The pen: what many requests want to write at once is written by one thread, and is on the disk after one commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from penstock.store.session import Database, WriteSession

T = TypeVar("T")

MOST = 64
"""How much is written in a row before those who wait are told."""

Work = Callable[[WriteSession], Any]


class Pen:
    """For coroutines. Handing a transaction to a thread of its own costs more than to write it; here many share the way."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._wanted: SimpleQueue[tuple[Work, Future[Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    async def write(self, work: Callable[[WriteSession], T]) -> T:
        """What `work` returns, once everything that it has written in its session is stored; raises what it raises.

        Where several can write at once, they do.
        """
        if not self._db.one_writer:
            return await asyncio.to_thread(self._alone, work)
        self._begin()
        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()  # what was handed over is written, whether or not its request goes away
        self._wanted.put((work, cast(Future[Any], answer)))
        return await asyncio.wrap_future(answer)

    def close(self) -> None:
        """Let the thread go, once it has written what it was given. It comes back if there is more."""
        with self._lock:
            if self._thread is not None:
                self._wanted.put(None)
                self._thread.join()
                self._thread = None

    def _alone(self, work: Callable[[WriteSession], T]) -> T:
        with self._db.write() as session:
            return work(session)

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

    def _write(self, wanted: list[tuple[Work, Future[Any]]]) -> None:
        results: list[Any] = [None] * len(wanted)

        def keep(number: int, work: Work, session: WriteSession) -> None:
            results[number] = work(session)

        works = [partial(keep, number, work) for number, (work, _) in enumerate(wanted)]
        try:
            told = self._db.write_each(works)
        except BaseException as failure:  # noqa: BLE001 - whoever waits raises it
            told = [failure] * len(wanted)
        for (_, answer), result, error in zip(wanted, results, told, strict=True):
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)
