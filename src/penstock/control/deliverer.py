"""The deliverer: tells those who asked for it of the ends of runs, until they have heard it or the tries are used up."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from penstock.control import callbacks, outbound
from penstock.control.background import Background
from penstock.control.bell import ENDED
from penstock.control.installation import Installation, now
from penstock.errors import NotFound, PenstockError
from penstock.model.address import allowed_by
from penstock.model.callback import Callback, CallbackState, Reply, after, host_of
from penstock.store import callbacks as stored

log = logging.getLogger("penstock.deliverer")

T = TypeVar("T")

AT_ONCE = 32
"""Callbacks that one server sends at the same time."""

PER_HOST = 4
"""How many of them go to one host: a slow one holds up its own only."""

POLL = 1.0
"""Seconds after which it is looked for what is due even if nobody rang."""

LAST_ANSWERS = 2.0
"""Seconds that receivers have to answer once the server leaves; what they do not answer is sent again by the next one."""


class Deliverer(Background):
    """One thread. What it takes is leased: if this server is lost, another one (or its next start) sends it again."""

    def __init__(self, installation: Installation, context: ssl.SSLContext | None = None) -> None:
        super().__init__(installation, "deliverer", (ENDED,))
        self._allowed = allowed_by(installation.settings)
        self._context = context
        self._under_way: dict[asyncio.Task[None], str] = {}

    def _work(self) -> None:
        with ThreadPoolExecutor(4, thread_name_prefix="penstock-callback") as pool:
            self._pool = pool
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._context = self._context or ssl.create_default_context()
        with self._installation.bell.subscribe(ENDED, asyncio.get_running_loop()) as rung:
            while not self._leaving.is_set():
                self.beat = time.monotonic()
                begun, wait = [], POLL
                try:
                    begun = await self._call(partial(self._claim, Counter(self._under_way.values())))
                    wait = await self._call(partial(self._longest_wait, Counter(self._under_way.values())))
                except PenstockError as error:  # the store is away or full: what is due stays due
                    log.warning("no callback could be taken: %s", error.detail)
                except Exception:  # one bad row must not stop all others
                    log.exception("taking callbacks failed")
                for callback in begun:
                    task = asyncio.create_task(self._deliver(callback))
                    self._under_way[task] = host_of(callback.url)
                    task.add_done_callback(self._under_way.pop)
                    task.add_done_callback(lambda _: rung.ring())
                if not begun:
                    await rung.wait_async(wait)
        await self._drain()

    async def _drain(self) -> None:
        tasks = list(self._under_way)
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_ANSWERS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _claim(self, busy: Counter[str]) -> list[Callback]:
        """Begin what is due, as far as there is room beside those hosts that are called already."""
        installation = self._installation
        if self._longest_wait(busy) > 0:
            return []
        at = now()
        settings = installation.settings
        until = at + timedelta(seconds=settings.callback_timeout + settings.lease)
        taken: list[Callback] = []
        with installation.db.write() as session:
            while busy.total() < AT_ONCE:
                callback = stored.claim(session, at, until, busy=_full(busy))
                if callback is None:
                    break
                busy[host_of(callback.url)] += 1
                taken.append(callback)
        return taken

    def _longest_wait(self, busy: Counter[str]) -> float:
        """Seconds until the next try can begin, at the hosts that have room; not long anyway."""
        if busy.total() >= AT_ONCE or self._installation.draining.is_set():
            return POLL  # whatever ends rings
        with self._installation.db.read() as session:
            due = stored.next_due(session, busy=_full(busy))
        return POLL if due is None else min(POLL, max(0.0, (due - now()).total_seconds()))

    async def _deliver(self, callback: Callback) -> None:
        try:
            reply = await self._sent(callback)
        except asyncio.CancelledError:
            await self._call(partial(self._put_back, callback))
            raise
        except NotFound:  # its run was removed, and it with that
            return
        except PenstockError as error:  # the store is away: it is due again when the lease has run out
            log.warning("callback %s could not be sent: %s", callback.id, error.detail)
            return
        except Exception:
            log.exception("callback %s could not be sent", callback.id)
            reply = Reply(problem="Penstock could not send it; the log of the server has the details.")
        try:
            await self._call(partial(self._note, callback, reply))
        except PenstockError as error:
            log.warning("callback %s was sent, which could not be noted: %s", callback.id, error.detail)

    async def _sent(self, callback: Callback) -> Reply:
        body, headers = await self._call(partial(self._message, callback))
        assert self._context is not None
        return await outbound.post(
            callback.url,
            body,
            headers,
            allowed=self._allowed,
            timeout=self._installation.settings.callback_timeout,
            context=self._context,
        )

    def _message(self, callback: Callback) -> tuple[bytes, dict[str, str]]:
        with self._installation.db.read() as session:
            return callbacks.message(session, self._installation, callback)

    def _note(self, callback: Callback, reply: Reply) -> None:
        noted = after(callback, reply, now())
        with self._installation.db.write() as session:
            stored.save(session, callback, noted)
        self._installation.metrics.callbacks.labels(noted.state.value).inc()
        if noted.state is CallbackState.DEAD:
            log.warning("callback %s is given up: %s", callback.id, reply.problem, extra={"run_id": callback.run_id})

    def _put_back(self, callback: Callback) -> None:
        """Nobody knows whether it arrived: it is sent again, and this try does not count."""
        due = replace(callback, state=CallbackState.PENDING, attempts=callback.attempts - 1, next_try=now())
        with self._installation.db.write() as session:
            stored.save(session, callback, due)

    async def _call(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def _full(busy: Counter[str]) -> list[str]:
    return [host for host, many in busy.items() if many >= PER_HOST]
