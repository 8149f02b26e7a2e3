"""What a launcher and a worker are told, and what they report: data that crosses processes as JSON."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.requirements import Requirements
from penstock.model.run import Event
from penstock.model.stack import Component

RUN_VARIABLE = "PENSTOCK_RUN_ID"
"""Environment variable that every process of a run carries, so that whatever a run leaves behind can be found and ended."""

NO_RUN = "none"
"""Its value for a process that must outlive the run that may have started it: a server, a supervisor."""


def place_of(home: str | Path) -> str:
    """A home among all on all machines, as what the names of those end with who hold leases there: `@` and 12 digits."""
    where = f"{platform.node()}\0{Path(home).absolute()}"
    return f"@{hashlib.sha256(where.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """All that a process needs to carry out one claimed run."""

    run_id: str
    run_name: str
    fence: int
    pipeline: str
    source: str
    code: str | None
    """Digest of the code archive; None for a run in the caller's own process."""

    parameters: dict[str, Any]
    step_parameters: dict[str, dict[str, Any]]
    configuration: PipelineRunConfiguration = field(default_factory=PipelineRunConfiguration)
    """What holds for this run, over what the code says."""

    timeout: float | None = None
    """Seconds after which the run is to be stopped."""

    pipeline_id: str = ""
    tags: tuple[str, ...] = ()
    artifact_store: Component
    secret_store: Component | None = None
    server: str
    """Where to report: `unix:/path/to/socket` or `http(s)://host:port`."""

    resumes: str | None = None
    """The id of a run whose results are taken over."""

    again: tuple[str, ...] = ()
    """Invocation ids of the steps whose results are not."""

    token: str
    """Credentials of this run alone; they die with it."""

    home: str
    """Directory for the code cache and working directories on the machine of the run."""

    preload: tuple[str, ...] = ()
    """Modules to import before the code."""

    executable: str | None = None
    """The Python to use, if it exists on the machine of the run."""

    requires: Requirements | None = None
    """What the Python that is used must have."""

    lease: float
    grace: float
    parallel_steps: int = 8
    traceparent: str | None = None
    """The trace that the run belongs to (W3C trace context)."""

    notes: tuple[str, ...] = ()
    """What the launcher had to decide otherwise than asked, in words: first lines of the run's log."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """One run that a supervisor has in its care."""

    run_id: str
    fence: int
    doing: str | None = None
    """What has to be done before its process can be started, in words."""


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How the process of a run ended. `failure` says it in words."""

    run_id: str
    fence: int
    status: int | None
    """Exit status; None if it was ended by a signal."""

    signal: int | None = None
    failure: str
    launched: bool = True
    """False: no process was ever started, user code has certainly not run."""

    crash: str | None = None
    """Where the interpreter was, as it wrote itself when it crashed."""

    last_words: tuple[Event, ...] = ()
    """Events of its journal that it could not report itself any more."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A supervisor's heartbeat: what it holds (renewing those leases) and what has ended since."""

    owner: str
    held: tuple[Held, ...] = ()
    exits: tuple[Exit, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Orders:
    """The answer to a report: runs to stop, and why."""

    stop: dict[str, Literal["cancelled", "stale"]] = field(default_factory=dict)


SERVICES = "services/server.sock"
"""The socket of a server that services and their containers come to, in a directory of its own."""


def socket_path(home: str | Path, name: str) -> Path:
    """Where the Unix socket `name` of the installation at `home` lies: in it, or in a private directory under `/tmp`.

    The kernel takes at most 107 bytes as the path of a socket (`sun_path` in unix(7)), and homes can be deep.
    """
    direct = Path(home) / name
    if len(os.fsencode(direct)) <= 100:
        return direct
    tag = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(f"/tmp/penstock-{os.getuid()}") / tag / name  # noqa: S108 (made 0700, and refused if somebody else owns it)
