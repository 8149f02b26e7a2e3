"""Carrying out submitted requests: as many at once as the settings say, each to its end, whatever becomes of this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from penstock.errors import InvalidInput, PenstockError, RunCancelled, Unavailable
from penstock.ids import digest_of
from penstock.serve.jobs import Job, Result
from penstock.serve.service import Service
from penstock.serve.submissions import Submission, Submissions

log = logging.getLogger("penstock.backlog")

LOOK = 0.5
"""Seconds between two looks at what other processes have left or want."""

SWEEP = 30.0
ENDED = frozenset({"completed", "failed", "cancelled"})
T = TypeVar("T")


class Backlog:
    """The submitted requests of a service. To be used on its loop; `envelope` is what is answered for a result."""

    def __init__(self, service: Service, directory: Path, envelope: Callable[[Result], bytes]) -> None:
        self._service = service
        self._settings = service.settings
        self._envelope = envelope
        self._store = Submissions(directory)
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="penstock-submissions")
        self._running: dict[str, tuple[Job, asyncio.Task[None]]] = {}
        self._news = asyncio.Event()
        self._leaving = False
        self._swept = 0.0
        self._mean = 1.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what is there."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    def leave(self) -> None:
        """Begin nothing more."""
        self._leaving = True
        self._news.set()

    async def close(self) -> None:
        """Return when what was under way has been written down: its end, or that it is to be begun again."""
        self.leave()
        if self._task is not None:
            await self._task
        await asyncio.gather(*(task for _, task in self._running.values()), return_exceptions=True)
        await self._do(self._store.close)
        self._disk.shutdown()

    def check(self, body: bytes) -> None:
        """Raises what is wrong with a request, before it is kept; and `Unavailable` if nothing is taken any more."""
        if self._service.draining:
            raise Unavailable("This service is stopping.", headers={"Retry-After": "1"})
        self._service.inputs.read(body)

    async def accept(self, body: bytes, key: str | None) -> tuple[Submission, bool]:
        """Keep a request that was checked; also whether it is new. Raises `Unavailable`, `StorageFull` and `KeyReused`."""
        said = self._settings
        fingerprint = digest_of(json.dumps(json.loads(body), sort_keys=True).encode())
        try:
            found, new = await self._do(
                lambda: self._store.add(body, fingerprint, key, most=said.submit_queue_size, room=said.spool_limit)
            )
        except Unavailable as error:
            turn = said.submit_queue_size / said.async_execution_thread_pool_size * self._mean / 10
            self._service.measures.refused.inc()
            raise Unavailable(error.detail, headers={"Retry-After": str(max(1, min(120, math.ceil(turn))))}) from None
        self._news.set()
        return found, new

    async def look(self, identity: str, wait: float = 0.0) -> Submission:
        """The request as it stands; with `wait`, as soon as it has ended, but within these seconds. Raises `NotFound`."""
        until = time.monotonic() + wait
        while True:
            found = await self._do(lambda: self._store.get(identity))
            left = until - time.monotonic()
            if found.state in ENDED or left <= 0:
                return found
            await self._ended_here(identity, min(left, LOOK))

    async def cancel(self, identity: str) -> Submission:
        """Have it end. Raises `NotFound`."""
        found = await self._do(lambda: self._store.cancel(identity))
        self._news.set()
        return found

    async def _ended_here(self, identity: str, patience: float) -> None:
        known = self._running.get(identity)
        if known is None:
            await asyncio.sleep(min(patience, 0.1))  # another process carries it out, which says nothing
        else:
            await asyncio.wait([known[1]], timeout=patience)

    async def _work(self) -> None:
        while not self._leaving:
            try:
                await self._see_to_all()
            except PenstockError as error:
                log.warning("submitted requests: %s", error.detail)
            except Exception:  # what is accepted from now on must be seen to all the same
                log.exception("submitted requests")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK)
            self._news.clear()

    async def _see_to_all(self) -> None:
        """What is open is carried out. With nothing open this is one look, which keeps no other process from writing."""
        if await self._do(self._store.idle):
            self._service.measures.submitted.set(0)
        else:
            await self._see_to_open()
        if time.monotonic() - self._swept > SWEEP:
            self._swept = time.monotonic()
            await self._do(
                lambda: self._store.forget(time.time() - self._settings.submit_ttl, self._settings.spool_limit)
            )

    async def _see_to_open(self) -> None:
        lost = json.dumps(_LOST).encode()
        await self._do(lambda: self._store.recover(self._settings.submit_attempts, lost))
        for identity in await self._do(self._store.cancelled):
            if identity in self._running:
                self._running[identity][0].stop(RunCancelled("The request was cancelled."))
        while len(self._running) < self._settings.async_execution_thread_pool_size and not self._leaving:
            claimed = await self._do(self._store.claim)
            if claimed is None:
                break
            await self._begin(claimed)
        self._service.measures.submitted.set(await self._do(self._store.waiting))

    async def _begin(self, one: Submission) -> None:
        service = self._service
        try:
            wanted = service.inputs.read(one.body)
        except PenstockError as error:  # the revision that accepted it took other values
            await self._write(one.id, "failed", error.status, msgspec.json.encode(error.problem("/submit")))
            return
        job = Job(service, wanted, id=one.id, later=True)
        task = service.loop.create_task(self._carry_out(job))
        self._running[one.id] = (job, task)
        task.add_done_callback(lambda _: self._ended(one.id))

    def _ended(self, identity: str) -> None:
        del self._running[identity]
        self._news.set()

    async def _carry_out(self, job: Job) -> None:
        try:
            result = await self._service.answered_later(job)
        except Unavailable:  # the service began to leave after this was claimed: it was not begun
            await self._until_written(lambda: self._store.give_back(job.id))
            return
        self._mean += 0.1 * (result.seconds - self._mean)
        if job.interrupted and result.error is not None:
            await self._until_written(lambda: self._store.give_back(job.id))
            return
        refused: InvalidInput | None = result.refused
        told = self._envelope(result) if refused is None else msgspec.json.encode(refused.problem("/submit"))
        await self._write(job.id, _state(result), result.status, told)

    async def _write(self, identity: str, state: str, status: int, told: bytes) -> None:
        await self._until_written(lambda: self._store.finish(identity, state, status, told))

    async def _until_written(self, write: Callable[[], None]) -> None:
        """A disk that is full is tried again until there is room: the work is done, and must not be done twice for that."""
        pause = 0.1
        while True:
            try:
                await self._do(write)
            except PenstockError as error:
                if self._leaving:
                    return  # whoever comes next does it again
                log.warning("submitted requests: %s", error.detail)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 5.0)
            else:
                return

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)


_LOST = {
    "success": False,
    "outputs": None,
    "error": "The process of the service died while it carried this out, and it is not to be tried again (`submit_attempts`).",
}


def _state(result: Result) -> str:
    if result.error is None:
        return "completed"
    stopped = result.job.stopped
    return "cancelled" if isinstance(stopped, RunCancelled) and result.raised is stopped else "failed"
