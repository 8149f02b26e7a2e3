"""Lapsed leases."""

from __future__ import annotations

from dataclasses import replace

from penstock.control import journal, runs
from penstock.control.installation import now
from penstock.control.reaper import Reaper
from penstock.model.run import Batch, Event, Run, RunState
from penstock.store import runs as stored
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


def test_a_claim_that_never_began_goes_back_to_the_queue(daily: House) -> None:
    run = lapsed(daily, begun=False)
    assert Reaper(daily.here).reap() == 1
    assert daily.run(run.id).state is RunState.QUEUED
    assert Reaper(daily.here).reap() == 0


def test_a_run_that_had_begun_fails_and_says_why(daily: House) -> None:
    run = lapsed(daily, begun=True)
    Reaper(daily.here).reap()
    ended = daily.run(run.id)
    assert (ended.state, ended.error and ended.error.type) == (RunState.FAILED, "WorkerLost")


def test_a_cancelled_run_without_a_worker_is_cancelled(daily: House) -> None:
    run = lapsed(daily, begun=False)
    with daily.here.db.write() as session:
        runs.cancel(session, daily.here, run.id)
    Reaper(daily.here).reap()
    assert daily.run(run.id).state is RunState.CANCELLED


def test_a_live_lease_is_left_alone(daily: House) -> None:
    daily.start()
    claimed = daily.claim()
    assert Reaper(daily.here).reap() == 0
    assert daily.run(claimed.id) == claimed


def test_a_run_in_the_callers_process_is_never_launched_instead(daily: House) -> None:
    run = daily.start(claim=True).run
    with daily.here.db.write() as session:
        given_up = journal.give_up_claim(session, daily.here, run, "it was not heard of")
    assert given_up.state is RunState.FAILED
