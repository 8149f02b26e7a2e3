"""What the use-cases of one server share. Wired in one place (`server/app.py`), received everywhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from penstock.control.bell import ENDED, Bell
from penstock.control.issuers import Issuers
from penstock.control.metrics import Metrics
from penstock.control.pen import Pen
from penstock.control.tokens import Signer
from penstock.model.run import Run
from penstock.settings import Settings
from penstock.store.session import Database


@dataclass(frozen=True, kw_only=True)
class Installation:
    """One server process: its settings, its store, and its wake-ups."""

    settings: Settings
    db: Database
    bell: Bell
    signer: Signer
    address: str
    """Where workers on this machine report: the address of the Unix socket."""

    owner: str
    """Who this server is as the holder of leases; it ends with the `place`."""

    services: str = ""
    """Where services report, with a token as over TCP. Empty: at `address`."""

    place: str = ""
    """Its home among those of all servers on its database: see `model.launch.place_of`."""

    started: datetime
    metrics: Metrics = field(default_factory=Metrics)
    run_changed: list[Callable[[Run], object]] = field(default_factory=list)
    """Told of every run that comes to another state. They return at once."""

    draining: threading.Event = field(default_factory=threading.Event)
    """Set once this server is leaving: nothing new is claimed, and who waits for something is answered now."""

    def changed(self, run: Run) -> None:
        """A run has come to another state, and that is stored."""
        if run.state.terminal:
            self.metrics.ended(run)
            self.bell.ring(ENDED)
        for told in self.run_changed:
            told(run)

    def drain(self) -> None:
        """Begin to leave."""
        self.draining.set()
        self.bell.ring_all()

    @cached_property
    def pen(self) -> Pen:
        """What requests write with that come in numbers."""
        return Pen(self.db)

    @cached_property
    def issuers(self) -> Issuers:
        """The keys of other issuers, as far as this server has asked for them."""
        return Issuers()

    @property
    def code_directory(self) -> Path:
        """Where code archives are kept."""
        return self.settings.shared_directory / "code"


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)
