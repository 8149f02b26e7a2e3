"""Lapsed leases."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from penstock.control import callbacks as registered
from penstock.control import journal, runs
from penstock.control import reaper as module
from penstock.control.installation import now
from penstock.control.reaper import ABSENCE, HESITATION, Reaper
from penstock.model.callback import CallbackState
from penstock.model.run import Batch, Event, Run, RunState
from penstock.store import callbacks, duties
from penstock.store import runs as stored
from penstock.store.paging import Window
from tests.unit.control.conftest import House


def lapsed(house: House, *, begun: bool) -> Run:
    """A claimed run whose lease has run out."""
    run = house.start().run
    claimed = house.claim(lease=-60)
    if begun:
        with house.here.db.write() as session:
            journal.report(
                session, house.here, run.id, Batch(fence=1, events=(Event(seq=1, at=now(), type="run_started"),))
            )
            # The report was a sign of life: let it be long ago.
            stored.save(session, replace(stored.get(session, run.id), lease_expires=claimed.lease_expires))
    return run


def reaped(house: House) -> int:
    """How many runs a reaper has treated that has seen them lapsed for as long as it hesitates."""
    reaper = Reaper(house.here)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HESITATION", 0.0)
        assert reaper.reap() == 0
        return reaper.reap()


def test_a_claim_that_never_began_goes_back_to_the_queue(daily: House) -> None:
    run = lapsed(daily, begun=False)
    assert reaped(daily) == 1
    assert daily.run(run.id).state is RunState.QUEUED
    assert reaped(daily) == 0


def test_a_run_that_had_begun_fails_and_says_why(daily: House) -> None:
    run = lapsed(daily, begun=True)
    reaped(daily)
    ended = daily.run(run.id)
    assert (ended.state, ended.error and ended.error.type) == (RunState.FAILED, "WorkerLost")


def test_a_cancelled_run_without_a_worker_is_cancelled(daily: House) -> None:
    run = lapsed(daily, begun=False)
    with daily.here.db.write() as session:
        runs.cancel(session, daily.here, run.id)
    reaped(daily)
    assert daily.run(run.id).state is RunState.CANCELLED


def test_a_live_lease_is_left_alone(daily: House) -> None:
    daily.start()
    claimed = daily.claim()
    assert reaped(daily) == 0
    assert daily.run(claimed.id) == claimed


def test_a_run_in_the_callers_process_is_never_launched_instead(daily: House) -> None:
    run = daily.start(claim=True).run
    with daily.here.db.write() as session:
        given_up = journal.give_up_claim(session, daily.here, run, "it was not heard of")
    assert given_up.state is RunState.FAILED


def test_a_lease_of_a_clock_that_was_ahead_does_not_hold_for_as_long_as_it_was(daily: House) -> None:
    run = daily.start().run
    claimed = daily.claim(lease=86400)
    reaper = Reaper(daily.here)
    reaper.correct()
    lease = timedelta(seconds=daily.here.settings.lease)
    corrected = daily.run(run.id)
    assert corrected.lease_expires is not None
    assert now() + lease < corrected.lease_expires <= now() + 3 * lease
    assert replace(corrected, lease_expires=claimed.lease_expires) == claimed
    reaper.correct()
    assert daily.run(run.id) == corrected  # an ordinary lease is left alone
    assert reaper.reap() == 0


def test_nor_does_the_lease_of_a_callback(daily: House) -> None:
    for _ in range(3):
        run = daily.start().run
        with daily.here.db.write() as session:
            registered.register(session, daily.here, run, "https://203.0.113.7/x")
            runs.cancel(session, daily.here, run.id)
    far = now() + timedelta(days=1)
    with daily.here.db.write() as session:
        taken = callbacks.claim(session, now(), far)
        untried, retried = callbacks.page(session, Window(), state=CallbackState.PENDING).items
        assert taken is not None
        callbacks.save(session, untried, replace(untried, next_try=far))
        callbacks.save(session, retried, replace(retried, next_try=far, attempts=1))
    Reaper(daily.here).correct()
    with daily.here.db.read() as session:
        due = {one.id: one.next_try for one in callbacks.page(session, Window()).items}
    assert due[taken.id] is not None
    assert due[taken.id] <= now()
    assert due[untried.id] <= now()
    assert due[retried.id] == far  # that may be how long its receiver asked for


def test_a_clock_that_was_ahead_makes_it_blind_for_no_longer_than_a_lease(
    daily: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = timedelta(days=1)
    monkeypatch.setattr(module, "now", lambda: now() + ahead)
    reaper = Reaper(daily.here)
    looks = threading.Semaphore(0)
    monkeypatch.setattr(reaper, "_keep_the_books", looks.release)
    reaper.start()
    try:
        looks.acquire()  # it saw the wrong time
        ahead = timedelta()
        run = lapsed(daily, begun=False)
        deadline = time.monotonic() + 60
        while daily.run(run.id).state is not RunState.QUEUED:
            assert time.monotonic() < deadline
            looks.acquire(timeout=1)
    finally:
        reaper.stop()


def test_what_waits_behind_a_write_that_took_long_has_a_moment_to_arrive(
    daily: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lapsed(daily, begun=True)
    reaper = Reaper(daily.here)
    begun = time.monotonic()
    passed = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: begun + passed)
    lease = daily.here.settings.lease
    assert reaper.reap() == 0
    passed = HESITATION * lease - 0.1
    assert reaper.reap() == 0
    with daily.here.db.write() as session:  # the heartbeat has arrived
        stored.renew(session, "supervisor:1", [(run.id, 1)], now() + timedelta(seconds=lease))
    passed = HESITATION * lease + 0.1
    assert reaper.reap() == 0
    assert daily.run(run.id).state is RunState.RUNNING


def test_nobody_is_given_up_while_the_store_takes_nothing_in(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lapsed(daily, begun=True)
    reaper = Reaper(daily.here)
    monkeypatch.setattr(module, "HESITATION", 0.0)
    begun = time.monotonic()
    passed = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: begun + passed)
    assert reaper.reap() == 0
    take = duties.take

    def slowly(*told: Any) -> bool:
        nonlocal passed
        passed += daily.here.settings.lease
        return take(*told)

    with monkeypatch.context() as patch:
        patch.setattr(duties, "take", slowly)
        passed += 1
        assert reaper.reap() == 0
    assert reaper.reap() == 0  # what waited has its moment
    passed += 1
    assert reaper.reap() == 1
    assert daily.run(run.id).state is RunState.FAILED


def foreign(house: House, expires: datetime) -> Run:
    """A run that is carried out in another home, with a lease until then."""
    house.start()
    with house.here.db.write() as session:
        return stored.claim(session, "supervisor:far:1@0123456789ab", 1, expires, at=now())[0]


def test_a_run_of_another_home_has_time_until_its_server_is_back(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run = foreign(daily, now() - timedelta(seconds=1))
    reaper = Reaper(daily.here)
    begun = time.monotonic()
    passed = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: begun + passed)
    lease = daily.here.settings.lease
    assert reaper.reap() == 0
    passed = ABSENCE * lease - 0.1
    assert reaper.reap() == 0
    assert daily.run(run.id) == run
    passed = ABSENCE * lease + 0.1
    assert reaper.reap() == 1
    assert daily.run(run.id).state is RunState.QUEUED


def test_a_run_of_another_home_whose_clock_is_slow_is_left_alone(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run = foreign(daily, now() - timedelta(hours=1))
    reaper = Reaper(daily.here)
    begun = time.monotonic()
    passed = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: begun + passed)
    for seconds in range(20):  # it is renewed once a second, by a clock that is an hour behind
        passed = float(seconds)
        with daily.here.db.write() as session:
            renewed = now() - timedelta(hours=1) + timedelta(seconds=seconds)
            stored.renew(session, "supervisor:far:1@0123456789ab", [(run.id, 1)], renewed)
        assert reaper.reap() == 0
    assert daily.run(run.id).state is RunState.STARTING


def test_a_run_that_is_renewed_while_it_is_being_given_up_is_not(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lapsed(daily, begun=True)
    reaper = Reaper(daily.here)
    with daily.here.db.read() as session:
        seen = stored.get(session, run.id)
    with daily.here.db.write() as session:
        stored.renew(session, "supervisor:1", [(run.id, 1)], now() - timedelta(seconds=1))  # by a clock that is slow
    with daily.here.db.write() as session:
        reaper._treat(seen, session)
    assert daily.run(run.id).state is RunState.RUNNING
