"""Retention: what is older than it is to be kept goes, a little at a time, so that nobody waits for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from penstock.control.background import Background
from penstock.control.health import STALL
from penstock.control.installation import Installation, now
from penstock.errors import PenstockError
from penstock.model.retention import Swept
from penstock.store import callbacks, code, decisions, duties, idempotency, retention

log = logging.getLogger("penstock.retention")

EVERY = 60.0
"""Seconds between two sweeps of one server."""

LEASE = timedelta(minutes=5)
"""For how long a server has the duty of sweeping; it is renewed with every portion."""

RUNS_AT_ONCE = 50
"""Runs that one transaction removes: with their steps and lines they are thousands of rows."""


def sweep(installation: Installation, *, dry_run: bool = False) -> Swept:
    """Remove everything that is older than the settings say; with `dry_run` only say how much that is."""
    counts = {name: 0 for name in Swept.__dataclass_fields__ if name != "dry_run"}
    if dry_run:
        at = now()
        with installation.db.read() as session:
            for name, before in _policies(installation, at).items():
                if name == "code_archives":
                    digests = retention.old_archives(session, before, "", 1_000_000)
                    counts[name] = sum(not retention.is_needed(session, digest) for digest in digests)
                else:
                    counts[name] = retention.count(session, name, before, at)
    else:
        for name, count in _portions(installation):
            counts[name] += count
            installation.metrics.swept.labels(name).inc(count)
    return Swept(**counts, dry_run=dry_run)


def _policies(installation: Installation, at: datetime) -> dict[str, datetime]:
    """What goes, and from before when. What is kept for ever is not in it."""
    settings = installation.settings
    kept = {
        "logs": settings.keep_logs,
        "events": settings.keep_events,
        "runs": settings.keep_runs,
        "decisions": settings.keep_decisions,
        "callbacks": settings.keep_callbacks,
        "code_archives": settings.keep_code,
    }
    ages = {name: at - timedelta(seconds=seconds) for name, seconds in kept.items() if seconds > 0}
    return {**ages, "idempotency_keys": at}


def _portions(installation: Installation) -> Iterator[tuple[str, int]]:
    """Remove one portion after another, each in a transaction of its own; what it was, and how many."""
    for name, before in _policies(installation, now()).items():
        if name == "code_archives":
            yield from _archives(installation, before)
            continue
        while not installation.draining.is_set():
            removed = _portion(installation, name, before)
            if not removed:
                break
            yield name, removed


def _portion(installation: Installation, name: str, before: datetime) -> int:
    at = now()
    with installation.db.read() as session:  # most looks find nothing, and reading takes no lock
        ids: list[str] | None = None
        if name == "runs":
            ids = retention.old_runs(session, before, at, RUNS_AT_ONCE)
        elif name in ("logs", "events"):
            ids = retention.runs_with(session, name, before, RUNS_AT_ONCE)
        elif not retention.count(session, name, before, at):
            return 0
    if ids == []:
        return 0
    with installation.db.write() as session:
        if not duties.take(session, "retention", installation.owner, at, at + LEASE):
            return 0  # another server does it
        if name == "decisions":
            return decisions.purge(session, before)
        if name == "callbacks":
            return callbacks.purge(session, before)
        if name == "idempotency_keys":
            return idempotency.purge(session, at)
        assert ids is not None
        if name == "runs":
            return retention.remove_runs(session, ids)
        retention.remove_part(session, name, ids)
        return len(ids)


def _archives(installation: Installation, before: datetime) -> Iterator[tuple[str, int]]:
    """One archive at a time: the row first, so that whoever uploads it again meanwhile has it again."""
    after = ""
    while not installation.draining.is_set():
        with installation.db.read() as session:
            found = retention.old_archives(session, before, after, 100)
            unneeded = [digest for digest in found if not retention.is_needed(session, digest)]
        if not found:
            return
        after = found[-1]
        for digest in unneeded:
            with installation.db.write() as session:
                removed = retention.remove_archive(session, digest, before)
                if removed:
                    with suppress(FileNotFoundError):
                        code.path(installation.code_directory, digest).unlink()
            yield "code_archives", int(removed)


class Sweeper(Background):
    """One thread, which sweeps now and then. Of several servers on one database one does it."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(installation, "sweeper")

    def _work(self) -> None:
        swept = time.monotonic()
        while not self._leaving.wait(min(EVERY, STALL / 4)):
            self.beat = time.monotonic()
            if self.beat - swept < EVERY:
                continue
            try:
                sweep(self._installation)
            except PenstockError as error:  # the store is away or full: there is a next time
                log.warning("what is old could not be removed: %s", error.detail)
            except Exception:  # one bad row must not stop all others
                log.exception("sweeping failed")
            swept = time.monotonic()
