"""Submitted requests on their way through one process, in front of a service that is a double."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock.errors import InvalidInput, KeyReused, NotFound, PenstockError, StorageFull, Unavailable
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.run import Failure
from penstock.serve import backlog as module
from penstock.serve.backlog import Backlog
from penstock.serve.inputs import Wanted
from penstock.serve.jobs import Job, Result
from penstock.serve.measures import Measures
from penstock.serve.submissions import Submission
from tests.unit.serve.test_candidate import until


class Service:
    """Carries out nothing by itself: each request ends when it is let go, is stopped, or, with `free`, at once."""

    def __init__(self, *, free: bool, **said: Any) -> None:
        self.settings = DeploymentSettings(**{"async_execution_thread_pool_size": 2, **said})
        self.loop = asyncio.get_running_loop()
        self.pipeline_name = "p"
        self.measures = Measures(cast(Any, SimpleNamespace(deployment_name="d", revision=1)))
        self.inputs = self
        self.draining = False
        self.free = free
        self.leaves = False
        self.takes = True
        self.begun: list[Job] = []
        self._let_go: set[str] = set()

    def read(self, body: bytes) -> Wanted:
        if not self.takes:
            raise InvalidInput("It takes other values now.")
        return Wanted(parameters=json.loads(body))

    def let_go(self, identity: str) -> None:
        self._let_go.add(identity)

    async def answered_later(self, job: Job) -> Result:
        if self.leaves:
            raise Unavailable("This service is stopping.")
        self.begun.append(job)
        await until(lambda: self.free or job.id in self._let_go or job.stopped is not None)
        if job.stopped is not None:
            return Result(job, b"null", 0.1, Failure(type="RunCancelled", message="stopped"), job.stopped)
        if job.wanted.parameters.get("fail"):
            error = ValueError("it failed")
            return Result(job, b"null", 0.1, Failure(type="ValueError", message="it failed"), error)
        return Result(job, b"{}", 0.1)


def envelope(result: Result) -> bytes:
    return json.dumps({"of": result.job.id}).encode()


@asynccontextmanager
async def working(directory: Path, *, free: bool = False, **said: Any) -> AsyncIterator[tuple[Backlog, Service]]:
    service = Service(free=free, **said)
    backlog = Backlog(cast(Any, service), directory, envelope)
    backlog.start()
    try:
        yield backlog, service
    finally:
        service.free = True
        await backlog.close()


async def accept(backlog: Backlog, key: str | None = None, **parameters: Any) -> Submission:
    return (await backlog.accept(json.dumps(parameters).encode(), key))[0]


async def ended(backlog: Backlog, one: Submission) -> Submission:
    found = await backlog.look(one.id, 60)
    assert found.ended is not None
    return found


def kept(backlog: Backlog) -> list[tuple[str, int]]:
    """State and attempts of all that was kept, in order; also after the end."""
    with sqlite3.connect(backlog._store._directory / "submissions.db") as db:
        found = db.execute("SELECT state, attempts FROM submissions ORDER BY id").fetchall()
    db.close()
    return found


def run(work: Callable[[], Any]) -> None:
    asyncio.run(work())


def test_so_many_at_once_as_the_settings_say_each_once_and_the_next_when_one_ends(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (backlog, service):
            given = [await accept(backlog, number=number) for number in range(5)]
            await until(lambda: len(service.begun) == 2)
            assert [(await backlog.look(one.id)).state for one in given] == ["running"] * 2 + ["queued"] * 3
            service.let_go(given[1].id)
            await until(lambda: len(service.begun) == 3)
            service.free = True
            told = [await ended(backlog, one) for one in given]
            assert [one.state for one in told] == ["completed"] * 5
            assert [one.result for one in told] == [json.dumps({"of": one.id}).encode() for one in given]
            assert [job.id for job in service.begun] == [one.id for one in given]

    run(work)


def test_one_key_at_the_same_moment_is_one_request_however_it_is_written(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (backlog, service):
            bodies = (b'{"a":1,"b":2}', b'{ "b": 2, "a": 1 }', b'{"a":1,"b":2}')
            told = await asyncio.gather(*(backlog.accept(one, "k") for one in bodies))
            assert len({one.id for one, _ in told}) == 1
            assert [new for _, new in told].count(True) == 1
            with pytest.raises(KeyReused):
                await backlog.accept(b'{"a":1,"b":3}', "k")
            service.free = True

    run(work)


def test_what_finds_no_place_is_told_when_to_come_back_and_what_comes_too_late_that_it_is_too_late(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        async with working(tmp_path, submit_queue_size=1) as (backlog, service):
            for number in (1, 2):
                await accept(backlog)
                await until(lambda so_many=number: len(service.begun) == so_many)
            await accept(backlog)
            with pytest.raises(Unavailable) as refused:
                await accept(backlog)
            assert 1 <= int(refused.value.headers["Retry-After"]) <= 120
            assert "penstock_service_refused_total 1.0" in service.measures.text().decode()
            service.draining = True
            with pytest.raises(Unavailable, match="stopping"):
                backlog.check(b"{}")

    run(work)


def test_what_is_cancelled_ends_and_what_fails_by_itself_was_not_cancelled(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path, async_execution_thread_pool_size=1) as (backlog, service):
            first, second, third = [await accept(backlog, fail=True) for _ in range(3)]
            await until(lambda: len(service.begun) == 1)
            assert (await backlog.cancel(second.id)).state == "cancelled"
            assert (await backlog.cancel(first.id)).cancelling
            assert (await ended(backlog, first)).state == "cancelled"
            service.free = True
            told = await ended(backlog, third)
            assert (told.state, told.status) == ("failed", 500)
            assert len(service.begun) == 2
            with pytest.raises(NotFound):
                await backlog.cancel("nothing")

    run(work)


def test_a_full_disk_is_waited_for_and_nothing_is_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with working(tmp_path, free=True) as (backlog, service):
            finish, tries = backlog._store.finish, []

            def full(*said: Any) -> None:
                tries.append(said)
                if len(tries) == 1:
                    raise StorageFull("The disk is full.")
                finish(*said)

            monkeypatch.setattr(backlog._store, "finish", full)
            assert (await ended(backlog, await accept(backlog))).state == "completed"
            assert (len(tries), len(service.begun)) == (2, 1)

    run(work)


def test_who_leaves_does_not_wait_for_a_disk_and_leaves_the_work_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with working(tmp_path) as (backlog, service):

            def full(*_: Any) -> None:
                raise StorageFull("The disk is full.")

            monkeypatch.setattr(backlog._store, "finish", full)
            await accept(backlog)
            await until(lambda: len(service.begun) == 1)
        assert kept(backlog) == [("running", 1)]
        async with working(tmp_path, free=True) as (again, _):
            await until(lambda: kept(again) == [("completed", 2)])

    run(work)


def test_a_database_that_is_closed_is_no_reason_to_fail_without_a_word(tmp_path: Path) -> None:
    async def work() -> None:
        backlog = Backlog(cast(Any, Service(free=True)), tmp_path, envelope)
        backlog._store._db.close()
        for asked in (accept(backlog), backlog.look("x"), backlog.cancel("x")):
            with pytest.raises(Unavailable, match="cannot be kept or read"):
                await asked
        await backlog.close()

    run(work)


def test_what_was_claimed_while_the_service_left_was_not_begun(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path, submit_attempts=1) as (backlog, service):
            service.leaves = True
            begun = backlog._begin

            async def begin(one: Submission) -> None:
                backlog.leave()
                await begun(one)

            backlog._begin = begin  # type: ignore[method-assign]
            await accept(backlog)
            await until(lambda: backlog._leaving)
        assert kept(backlog) == [("queued", 0)]

    run(work)


def test_what_is_interrupted_waits_for_the_next_process_unless_it_was_cancelled(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (backlog, service):
            await accept(backlog)
            other = await accept(backlog)
            await until(lambda: len(service.begun) == 2)
            backlog._store.cancel(other.id)  # as another process does, and this one has not seen it yet
            backlog.leave()
            for job in service.begun:
                job.interrupt()
        assert kept(backlog) == [("queued", 0), ("cancelled", 1)]

    run(work)


def test_what_a_new_revision_does_not_take_any_more_has_failed_and_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (backlog, service):
            service.takes = False
            found = await ended(backlog, await accept(backlog))
            assert (found.state, found.status) == ("failed", 422)
            assert b"other values" in (found.result or b"")
            assert service.begun == []

    run(work)


def test_one_look_that_goes_wrong_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)

    async def work() -> None:
        async with working(tmp_path, free=True) as (backlog, _):
            idle, wrong = backlog._store.idle, iter([RuntimeError("wrong"), OSError("odd"), Unavailable("locked")])

            def broken() -> bool:
                for error in wrong:
                    raise error
                return idle()

            monkeypatch.setattr(backlog._store, "idle", broken)
            assert (await ended(backlog, await accept(backlog))).state == "completed"

    with caplog.at_level(logging.WARNING):
        run(work)
    assert all(one in caplog.text for one in ("wrong", "odd", "locked"))


def test_an_idle_look_takes_no_lock_and_needs_none(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path, free=True) as (backlog, service):
            found = await ended(backlog, await accept(backlog))
            assert found.state == "completed"
            await until(lambda: not backlog._running)
            said: list[str] = []
            with sqlite3.connect(tmp_path / "submissions.db", isolation_level=None) as other:
                other.execute("BEGIN IMMEDIATE")
                backlog._swept = 0.0
                backlog._store._db.set_trace_callback(said.append)
                await backlog._see_to_all()
                await backlog._see_to_all()
                backlog._store._db.set_trace_callback(None)
                other.execute("ROLLBACK")
            other.close()
            assert {one.split()[0] for one in said} == {"SELECT"}
            assert len(said) <= 4  # two looks, of which one swept, and perhaps one of the backlog itself
            assert len(service.begun) == 1

    run(work)


def test_while_something_is_under_way_a_look_takes_no_lock_either(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (backlog, service):
            one = await accept(backlog)
            await until(lambda: len(service.begun) == 1)
            with sqlite3.connect(tmp_path / "submissions.db", isolation_level=None) as other:
                other.execute("BEGIN IMMEDIATE")
                async with asyncio.timeout(5):
                    await backlog._see_to_all()
                other.execute("ROLLBACK")
            other.close()
            service.let_go(one.id)
            assert (await ended(backlog, one)).state == "completed"

    run(work)


def test_a_request_is_looked_after_until_it_ends_or_the_patience_does(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (backlog, service):
            one = await accept(backlog)
            await until(lambda: len(service.begun) == 1)
            assert (await backlog.look(one.id, 0.001)).state == "running"
            waiting = asyncio.ensure_future(backlog.look(one.id, 60))
            service.let_go(one.id)
            assert (await waiting).state == "completed"
            with pytest.raises(PenstockError):
                await backlog.look("nothing", 60)

    run(work)
