"""Whether this server can do its work now: each thing that it needs, looked at."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import Protocol

from penstock.control.installation import Installation
from penstock.errors import PenstockError, Unavailable, fault
from penstock.store import runs

STALL = 60.0
"""Seconds after which a thread that has not come round counts as stuck."""


class Worker(Protocol):
    """A thread of the server that goes round and round."""

    name: str
    beat: float
    """When it last began a round, on the monotonic clock."""

    @property
    def alive(self) -> bool:
        """Whether the thread is there."""


def check_ready(installation: Installation, workers: Sequence[Worker]) -> None:
    """Raise `Unavailable`, with a fault for each thing that is wrong, unless this server can take requests and runs.

    It tells nothing of the machine: who asks needs no credentials.
    """
    wrong = [
        fault(f"/{name}", message)
        for name, message in (
            ("server", "It is leaving." if installation.draining.is_set() else None),
            ("database", _database(installation)),
            ("disk", _disk(installation)),
            *((worker.name, _thread(worker)) for worker in workers),
        )
        if message is not None
    ]
    if wrong:
        raise Unavailable("This server is not ready.", errors=wrong)


def _database(installation: Installation) -> str | None:
    try:
        with installation.db.read() as session:
            runs.has_queued(session)
    except PenstockError:
        return "It does not answer."
    return None if installation.db.is_current() else "Its schema is that of another release."


def _disk(installation: Installation) -> str | None:
    try:
        free = shutil.disk_usage(installation.settings.home).free
    except OSError:
        return "It cannot be looked at."
    return None if free >= installation.settings.min_disk else "There is too little room."


def _thread(worker: Worker) -> str | None:
    if not worker.alive:
        return "It is not running."
    return "It is stuck." if time.monotonic() - worker.beat > STALL else None
