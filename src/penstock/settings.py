"""What can be set from outside, in one place: environment variables `PENSTOCK_<FIELD>` over defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One reading of the environment. Every field can be set by `PENSTOCK_` and its name in capitals.

    Times are in seconds, sizes in bytes.
    """

    home: Path = Path("~/.penstock")
    """Directory of the database, artifacts, code archives and sockets of this installation."""

    url: str = ""
    """A remote server, `http(s)://host:port`. Empty: the server of this home on this machine."""

    api_key: str = ""
    """The API key or access token for `url`."""

    database_url: str = ""
    """SQLAlchemy URL of the store. Empty: SQLite in the home directory."""

    host: str = "127.0.0.1"
    port: int = 8237

    lease: float = 10.0
    """How long a claim on a run lasts without a heartbeat."""

    grace: float = 5.0
    """How long a cancelled run may take to stop after SIGTERM before it is killed."""

    idle: float = 4 * 3600.0
    """A background server with nothing to do leaves after this time. 0: never."""

    parallel_runs: int = 0
    """Runs carried out at once on this machine. 0: eight for each processor."""

    parallel_steps: int = 0
    """Steps of one run carried out at once. 0: four for each processor, at most 32."""

    warm_parents: int = 4
    """How many imported pipelines stay in memory between runs."""

    launch: str = "fork"
    """How a local run starts: `fork` (from a warm parent that has imported the pipeline) or `spawn` (a new interpreter)."""

    max_body: int = 8 * 1024 * 1024
    """Largest JSON request body that the server reads."""

    max_archive: int = 64 * 1024 * 1024
    """Largest code archive, uncompressed."""

    idempotency_ttl: float = 24 * 3600.0
    """How long an `Idempotency-Key` is remembered, at least."""

    keep_decisions: float = 30 * 24 * 3600.0
    """How long it is remembered what became of attempts to start a run."""

    allow_pickle: bool = False
    """Whether values stored by the pickle fallback may be loaded outside the run that made them."""

    quiet: bool = False
    """No progress lines on stderr."""

    @classmethod
    def load(cls) -> Settings:
        """Read the environment now."""
        given: dict[str, Any] = {}
        for field in fields(cls):
            text = os.environ.get(f"PENSTOCK_{field.name.upper()}")
            if text:  # empty is as good as unset: an empty home would be the current directory
                given[field.name] = _parse(field.name, text, getattr(cls, field.name))
        settings = cls(**given)
        return replace(settings, home=settings.home.expanduser().absolute())

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.home / 'penstock.db'}"

    @property
    def runs_at_once(self) -> int:
        """`parallel_runs` with its default worked out for this machine."""
        return self.parallel_runs or 8 * (os.cpu_count() or 1)

    @property
    def steps_at_once(self) -> int:
        """`parallel_steps` with its default worked out for this machine."""
        return self.parallel_steps or min(32, 4 * (os.cpu_count() or 1))


def _parse(name: str, text: str, default: Any) -> Any:
    """`text` as the type of `default`; a wrong value names the variable and what it takes."""
    try:
        if isinstance(default, bool):
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}[
                text.lower()
            ]
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
    except (ValueError, KeyError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        raise PenstockError(f"PENSTOCK_{name.upper()}={text!r}: expected {kind}.") from None
    return Path(text) if isinstance(default, Path) else text
