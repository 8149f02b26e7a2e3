"""The reaper: ends or requeues runs whose worker has not been heard of for a whole lease."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from functools import partial

from penstock.control import audit, journal
from penstock.control.background import Background
from penstock.control.health import STALL
from penstock.control.installation import Installation, now
from penstock.errors import PenstockError
from penstock.model.run import Failure
from penstock.store import devices, runs, sessions, trusts, users
from penstock.store.session import WriteSession

log = logging.getLogger("penstock.reaper")


class Reaper(Background):
    """One thread. The server's own absence counts against nobody: after a start, or a sleep, it waits one lease first.

    Nor does that of the database: while it was away no worker could be heard of.
    """

    def __init__(self, installation: Installation) -> None:
        super().__init__(installation, "reaper")
        self._purged = time.monotonic()

    def reap(self) -> int:
        """Treat every lapsed lease once; how many there were."""
        with self._installation.db.read() as session:
            lapsed = runs.expired(session, now())
        for run in lapsed:
            self._installation.db.do(partial(self._treat, run.id))
        return len(lapsed)

    def _treat(self, run_id: str, session: WriteSession) -> None:
        run = runs.get(session, run_id)
        if run.lease_expires is None or run.lease_expires > now():
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
        looked, blind_until = now(), now() + timedelta(seconds=lease)
        while not self._leaving.wait(between):
            self.beat = time.monotonic()
            if now() - looked > timedelta(seconds=lease):  # this machine slept, or its clock jumped
                blind_until = now() + timedelta(seconds=lease)
            looked = now()
            if not self._answers():
                blind_until = now() + timedelta(seconds=lease)
                continue
            self._keep_the_books()
            if looked < blind_until:
                continue
            try:
                self.reap()
            except PenstockError as error:  # the store is away or full, and takes in no heartbeats either
                blind_until = now() + timedelta(seconds=lease)
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
        return time.monotonic() - begun < self._installation.settings.lease / 5
