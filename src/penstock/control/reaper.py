"""The reaper: ends or requeues runs whose worker has not been heard of for a whole lease."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial

from penstock.control import audit, journal
from penstock.control.background import Background
from penstock.control.health import STALL
from penstock.control.installation import Installation, now
from penstock.errors import PenstockError
from penstock.model.run import Failure, Run
from penstock.store import callbacks, devices, duties, runs, sessions, trusts, users
from penstock.store.session import WriteSession

FAR = 10
"""So many leases from now, or `FARTHEST`, ends no lease that a clock which is right has written."""

FARTHEST = timedelta(minutes=2)

ABSENCE = 2
"""For so many leases more a run of another home may be unheard of: its server is perhaps starting again, or its clock is slow."""

HESITATION = 0.2
"""For this part of a lease more one of this home may be: what it was to be renewed by may wait behind a write that took long."""

log = logging.getLogger("penstock.reaper")


class Reaper(Background):
    """One thread. The server's own absence counts against nobody: after a start, or a sleep, it waits one lease first.

    Nor does that of the database: while it was away no worker could be heard of. What goes on in the homes of other servers is
    judged by whether anybody renews it, not by its time: clocks differ.
    """

    def __init__(self, installation: Installation) -> None:
        super().__init__(installation, "reaper")
        self._purged = time.monotonic()
        self._watched: dict[str, tuple[object, float]] = {}
        """Runs whose lease has run out: what it is, and since when it is that."""

    def reap(self) -> int:
        """Treat every lease that has lapsed for good, once; how many there were."""
        with self._installation.db.read() as session:
            lapsed = runs.expired(session, now(), limit=1000)
        lost = [run for run in lapsed if self._unrenewed(run)]
        ids = {run.id for run in lapsed}
        self._watched = {run_id: seen for run_id, seen in self._watched.items() if run_id in ids}
        if lost and not self._takes_in():
            self._watched.clear()
            return 0
        for run in lost:
            self._installation.db.do(partial(self._treat, run))
        return len(lost)

    def _unrenewed(self, run: Run) -> bool:
        """Whether its lease is still the one that was seen a while ago; longer, where it is carried out in another home."""
        seen = (run.fence, run.lease_expires)
        before, since = self._watched.get(run.id, (None, 0.0))
        if before != seen:
            self._watched[run.id] = (seen, time.monotonic())
            return False
        home = (run.lease_owner or "").partition("@")[2]
        ours = not home or self._installation.place == f"@{home}"
        return time.monotonic() - since > (HESITATION if ours else ABSENCE) * self._installation.settings.lease

    def _takes_in(self) -> bool:
        """Whether the store takes in without delay what it is told; heartbeats wait behind a write that does not end."""
        begun, at = time.monotonic(), now()
        with self._installation.db.write() as session:
            duties.take(session, "reaper", f"home{self._installation.place}", at, at)
        return self._promptly(begun)

    def _promptly(self, begun: float) -> bool:
        return time.monotonic() - begun < self._installation.settings.lease / 5

    def correct(self) -> None:
        """Bring what lies too far ahead back to now: a clock was ahead, and what it wrote would hold for as long as it was.

        Who holds a run has some leases' time to say so.
        """
        settings, at = self._installation.settings, now()
        latest = at + max(FAR * timedelta(seconds=settings.lease), FARTHEST)
        no_call = latest + timedelta(seconds=settings.callback_timeout)
        with self._installation.db.read() as session:
            held, told_late = runs.misdated(session, latest), callbacks.misdated(session, no_call)
        if not held and not told_late:
            return
        with self._installation.db.write() as session:
            for run in runs.misdated(session, latest):
                runs.save(session, replace(run, lease_expires=at + 3 * timedelta(seconds=settings.lease)))
            callbacks.correct(session, no_call, at)
        log.warning("leases and callbacks lay too far ahead: a clock was put back. They hold from now.")

    def _treat(self, seen: Run, session: WriteSession) -> None:
        run = runs.get(session, seen.id)
        if (run.fence, run.lease_expires) != (seen.fence, seen.lease_expires):
            return  # heard of since
        silent = f"Its worker ({run.lease_owner}) was not heard of for {self._installation.settings.lease:g} s or more."
        ended = journal.lose(session, self._installation, run, Failure(type="WorkerLost", message=silent))
        log.warning("run %s: %s It is %s now.", run.name, silent, ended.state, extra={"run_id": run.id})
        session.after_commit(self._installation.metrics.leases_lost.inc)

    def _keep_the_books(self) -> None:
        """Give the entries of the audit log their places, forget those whose time is over, and what let people in."""
        try:
            while audit.seal(self._installation) or audit.forget(self._installation):
                pass  # some at a time, so that nobody waits long
            if time.monotonic() - self._purged > 60:
                self._purged = time.monotonic()
                with self._installation.db.write() as session:
                    for noun in (users, sessions, trusts, devices):
                        noun.purge(session, now())
        except PenstockError as error:  # the store is away or full: they wait
            log.warning("the audit log could not be sealed: %s", error.detail)

    def _work(self) -> None:
        lease = self._installation.settings.lease
        between = min(lease / 5, STALL / 4)
        looked, blind_until = now(), time.monotonic() + lease
        while not self._leaving.wait(between):
            before, self.beat = self.beat, time.monotonic()
            # This server stood still, this machine slept, or its clock jumped ahead.
            if self.beat - before > lease or now() - looked > timedelta(seconds=lease):
                blind_until = self.beat + lease
            looked = now()
            if not self._answers():
                blind_until = time.monotonic() + lease
                continue
            self._keep_the_books()
            if self.beat < blind_until:
                continue
            try:
                self.correct()
                self.reap()
            except PenstockError as error:  # the store is away or full, and takes in no heartbeats either
                blind_until = time.monotonic() + lease
                log.warning("lapsed leases could not be treated: %s", error.detail)
            except Exception:  # one bad row must not stop all others
                log.exception("reaping failed")

    def _answers(self) -> bool:
        """Whether the store is there, and answers without delay."""
        begun = time.monotonic()
        try:
            with self._installation.db.read() as session:
                runs.has_queued(session)
        except PenstockError as error:
            log.warning("the store does not answer, and no worker is heard of: %s", error.detail)
            return False
        return self._promptly(begun)
