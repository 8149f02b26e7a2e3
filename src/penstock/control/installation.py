"""What the use-cases of one server share. Wired in one place (`server/app.py`), received everywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from penstock.control.bell import Bell
from penstock.control.tokens import Signer
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
    """Who this server is as the holder of leases."""

    started: datetime

    @property
    def code_directory(self) -> Path:
        """Where code archives are kept."""
        return self.settings.home / "code"


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)
