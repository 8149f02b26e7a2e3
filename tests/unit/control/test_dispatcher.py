"""Claiming and launching, with a launcher that takes note."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from penstock.control import dispatcher, journal, runs
from penstock.control.dispatcher import Dispatcher
from penstock.control.installation import Installation
from penstock.errors import Unavailable
from penstock.model.launch import Ticket
from penstock.model.run import Failure, RunState
from penstock.store import runs as stored
from tests.unit.control.conftest import House


class Notebook:
    """A launcher that starts nothing, or refuses the first orders."""

    def __init__(self, refuse: int = 0) -> None:
        self.tickets: list[Ticket] = []
        self.stopped: list[str] = []
        self._refuse = refuse
        self._changed = threading.Condition()

    def launch(self, ticket: Ticket) -> None:
        with self._changed:
            if self._refuse > 0:
                self._refuse -= 1
                raise Unavailable("No supervisor.")
            self.tickets.append(ticket)
            self._changed.notify_all()

    def stop(self, run_id: str) -> None:
        self.stopped.append(run_id)

    def close(self) -> None: ...

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.tickets) >= count, timeout=20)


def dispatching(here: Installation, launcher: Notebook, act: Callable[[], None]) -> None:
    working = Dispatcher(here, lambda _: launcher)
    working.start()
    try:
        act()
    finally:
        working.stop()


def test_queued_runs_are_launched_oldest_first_with_their_values(daily: House) -> None:
    launcher = Notebook()
    started = [daily.start(depth=number).run for number in range(1, 4)]
    dispatching(daily.here, launcher, lambda: launcher.wait_for(3))
    assert [ticket.run_id for ticket in launcher.tickets] == [run.id for run in started]
    assert [ticket.parameters for ticket in launcher.tickets] == [{"depth": number} for number in (1, 2, 3)]
    assert all(ticket.fence == 1 for ticket in launcher.tickets)


def test_a_trigger_wakes_the_dispatcher(daily: House) -> None:
    launcher = Notebook()

    def act() -> None:
        for count in range(1, 4):
            daily.start()
            launcher.wait_for(count)

    dispatching(daily.here, launcher, act)


def test_no_more_runs_are_claimed_than_there_are_slots(daily: House) -> None:
    object.__setattr__(daily.here.settings, "parallel_runs", 2)
    launcher = Notebook()
    for _ in range(5):
        daily.start()

    def act() -> None:
        launcher.wait_for(2)
        first = launcher.tickets[0]
        with daily.here.db.write() as session:
            runs.cancel(session, daily.here, first.run_id)  # claimed: still holds its slot
        assert len(launcher.tickets) == 2

    dispatching(daily.here, launcher, act)
    assert (
        sum(daily.run(ticket.run_id).state in (RunState.STARTING, RunState.CANCELLING) for ticket in launcher.tickets)
        == 2
    )


def test_a_launch_that_fails_is_tried_again_with_a_new_fence(daily: House) -> None:
    launcher = Notebook(refuse=6)  # more often than a run may fail to start by its own fault
    daily.start()
    dispatching(daily.here, launcher, lambda: launcher.wait_for(1))
    assert launcher.tickets[0].fence == 7


def test_the_process_of_a_cancelled_run_is_stopped_by_its_launcher(daily: House) -> None:
    launcher = Notebook()
    stopper = Dispatcher(daily.here, lambda _: launcher)
    daily.start()
    run = daily.claim()
    stopper.stop_run(run.id)
    assert launcher.stopped == []
    with daily.here.db.write() as session:
        runs.cancel(session, daily.here, run.id)
    stopper.stop_run(run.id)
    assert launcher.stopped == [run.id]


def test_a_freed_slot_wakes_the_dispatcher_while_all_slots_are_taken(
    daily: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        dispatcher, "POLL", 3600.0
    )  # without a wake-up nothing would come within the patience of the test
    object.__setattr__(daily.here.settings, "parallel_runs", 1)
    launcher = Notebook()

    def act() -> None:
        for count in (1, 2, 3):
            daily.start()
            if count > 1:
                with daily.here.db.write() as session:
                    last = stored.get(session, launcher.tickets[-1].run_id)
                    cancelled = runs.cancel(session, daily.here, last.id)
                    journal.lose(session, daily.here, cancelled, Failure(type="Gone", message="gone"))
            launcher.wait_for(count)

    dispatching(daily.here, launcher, act)
