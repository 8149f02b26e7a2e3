"""The dispatcher: claims queued runs while there are free slots, and hands each to its launcher."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from penstock.control import journal, runs, snapshots
from penstock.control.background import Background
from penstock.control.bell import QUEUE, SLOT
from penstock.control.installation import Installation, now
from penstock.errors import PenstockError
from penstock.model.launch import Ticket
from penstock.model.run import Run, RunState
from penstock.model.snapshot import Snapshot
from penstock.model.stack import Component, Stack
from penstock.stack.contracts import Launcher
from penstock.store import limits, stacks
from penstock.store import runs as stored
from penstock.store.session import ReadSession, WriteSession

log = logging.getLogger("penstock.dispatcher")

POLL = 1.0
"""Seconds after which the queue is looked at even if nobody rang: the net under the wake-ups."""

REST = 0.002
"""Seconds at least between two looks of which the first found nothing: while many runs come, each rings."""

LONGEST_PAUSE = 5.0
"""Seconds between two tries to launch while the launcher cannot do anything."""


@dataclass(frozen=True)
class _Order:
    """A claimed run and what is needed to launch it."""

    run: Run
    ticket: Ticket
    launcher: Component


class Dispatcher(Background):
    """One thread. Slots are the runs that hold a live lease, counted in the store at every claim."""

    def __init__(self, installation: Installation, launchers: Callable[[Component], Launcher]) -> None:
        super().__init__(installation, "dispatcher", (QUEUE, SLOT))
        self._launchers = launchers
        self._snapshots: OrderedDict[str, tuple[Snapshot, Stack]] = OrderedDict()
        self._full = False  # the last look found no slot free

    def stop_run(self, run_id: str) -> None:
        """Have the process of a cancelled run stopped now, without waiting for the next heartbeat."""
        with self._installation.db.read() as session:
            run = stored.get(session, run_id)
            if run.state is not RunState.CANCELLING:
                return
            _, stack = self._frozen(session, run)
        # Another server's supervisor is told with its next heartbeat, within a second.
        if not runs.held_by_caller(run) and (run.lease_owner or "").endswith(self._installation.place):
            self._launchers(stack.components["orchestrator"]).stop(run_id)

    def _work(self) -> None:
        pause, bell = 0.0, self._installation.bell
        with bell.subscribe(QUEUE) as rung, bell.subscribe(SLOT) as freed:
            while not self._leaving.wait(pause):
                self.beat = time.monotonic()
                try:
                    orders = self._claim()
                    launched = [self._launch(order) for order in orders]
                except PenstockError as error:  # the store is away or full: what is queued stays queued
                    log.warning("nothing could be dispatched: %s", error.detail)
                    orders, launched = [], []
                except Exception:  # one bad row must not stop all others
                    log.exception("dispatching failed")
                    orders, launched = [], []
                pause = 0.0 if all(launched) else min(LONGEST_PAUSE, 2 * pause or 0.05)
                if not orders:
                    begun = time.monotonic()
                    if self._full:  # what is queued now changes nothing
                        freed.wait(POLL)
                    else:
                        rung.wait(self._longest_wait())
                    pause = max(pause, begun + REST - time.monotonic())

    def _longest_wait(self) -> float:
        """Seconds until the queue is looked at again: when the next run is ready that is put off, and soon anyway."""
        at = now()
        try:
            with self._installation.db.read() as session:
                ready = limits.next_ready(session, at)
        except PenstockError:  # the store is away: the next look will say so
            return POLL
        return POLL if ready is None else min(POLL, max(0.001, (ready - at).total_seconds()))

    def _claim(self) -> list[_Order]:
        db, settings, here = self._installation.db, self._installation.settings, self._installation.place
        self._full = False
        if self._installation.draining.is_set():
            return []
        with db.read() as session:  # most looks find nothing to do or no slot, and reading takes no lock
            self._full = stored.count_active(session, here) >= settings.runs_at_once
            if self._full or not stored.has_queued(session):
                return []
        return db.do(self._claim_in)

    def _claim_in(self, session: WriteSession) -> list[_Order]:
        settings = self._installation.settings
        free = settings.runs_at_once - stored.count_active(session, self._installation.place)
        self._full = free <= 0
        if self._full:
            return []
        at = now()
        expires = at + timedelta(seconds=settings.lease)
        claimed = stored.claim(session, self._installation.owner, free, expires, at=at)
        session.after_commit(lambda: self._measure(claimed))
        return [self._order(session, run) for run in claimed]

    def _measure(self, claimed: list[Run]) -> None:
        at = now()
        for run in claimed:
            self._installation.metrics.dispatch.observe(max(0.0, (at - run.created).total_seconds()))

    def _order(self, session: ReadSession, run: Run) -> _Order:
        snapshot, stack = self._frozen(session, run)
        ticket = runs.ticket(self._installation, run, snapshot, stack)
        return _Order(run, ticket, stack.components["orchestrator"])

    def _launch(self, order: _Order) -> bool:
        try:
            self._launchers(order.launcher).launch(order.ticket)
        except (PenstockError, OSError) as error:
            log.warning("run %s could not be launched: %s", order.run.name, error, extra={"run_id": order.run.id})
            with self._installation.db.write() as session:
                current = stored.get(session, order.run.id)
                if current.fence == order.run.fence and current.state is RunState.STARTING:
                    journal.requeue(session, self._installation, current, str(error))
            return False
        return True

    def _frozen(self, session: ReadSession, run: Run) -> tuple[Snapshot, Stack]:
        """The run's snapshot and stack; snapshots never change, so the last ones are remembered."""
        known = self._snapshots.get(run.snapshot_id)
        if known is None:
            snapshot = snapshots.get(session, run.snapshot_id)
            known = snapshot, stacks.get(session, snapshot.content.stack)
            self._snapshots[run.snapshot_id] = known
            if len(self._snapshots) > 64:
                self._snapshots.popitem(last=False)
        return known
