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
    """Where the store is: `postgresql://user:password@host/database`, or `sqlite:////path`. Empty: SQLite in the home directory."""

    database_connections: int = 20
    """Connections to PostgreSQL that a server holds at most, besides one on which it hears of the other servers."""

    shared: str = ""
    """Directory that all servers on one database see: code archives, artifacts, secrets, `secret.key`. Empty: the home directory."""

    host: str = "127.0.0.1"
    port: int = 8237

    hosts: str = ""
    """Names under which the server may be called, with commas between. An address, `localhost` and the machine's own name always may."""

    origins: str = ""
    """Origins of web pages that may call the server (`https://app.example.com`), with commas between. Empty: none."""

    trusted_proxies: str = ""
    """Addresses or networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` hold, with commas between."""

    root_path: str = ""
    """The path under which a proxy serves this server, such as `/penstock`."""

    tls_certificate: str = ""
    """PEM file of the server's certificate and those above it. With it the port speaks HTTPS only."""

    tls_key: str = ""
    """PEM file of the certificate's key. Empty: it is in the file of the certificate."""

    tls_client_ca: str = ""
    """PEM file of authorities. With it only clients that show a certificate of one of them may connect."""

    rate_per_key: float = 0.0
    """Requests per second that each key may make over TCP. 0: as many as it likes."""

    rate_per_address: float = 0.0
    """Requests per second that each address may make over TCP, whatever its keys. 0: as many as it likes."""

    rate_burst: float = 10.0
    """How many seconds' worth of requests may come at once."""

    drain: float = 0.0
    """How long a server that is told to stop goes on serving as `not ready`, so that a balancer turns away first."""

    min_disk: int = 64 * 1024 * 1024
    """With less room than this on the disk of the home directory the server is not ready."""

    log_format: str = "console"
    """How the server logs: `console`, lines for people, or `json`, an object a line."""

    log_requests: bool = False
    """Whether each request is a line of the server's log."""

    lineage_url: str = ""
    """Where OpenLineage events are sent, such as `http://marquez:5000/api/v1/lineage`. Empty: nowhere."""

    lineage_namespace: str = "penstock"
    """The namespace of jobs and datasets in OpenLineage events."""

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

    uv: str = ""
    """The uv that builds environments. Empty: that of the Python that carries out runs, or the one on the path."""

    max_body: int = 8 * 1024 * 1024
    """Largest JSON request body that the server reads."""

    max_archive: int = 64 * 1024 * 1024
    """Largest code archive, uncompressed."""

    idempotency_ttl: float = 24 * 3600.0
    """How long an `Idempotency-Key` is remembered, at least."""

    session_idle: float = 12 * 3600.0
    """A session of a browser that is not used for so long has ended."""

    session_lifetime: float = 7 * 24 * 3600.0
    """A session of a browser ends after this time, however much it is used."""

    keep_runs: float = 0.0
    """How long runs that have ended are kept, with all that belongs to them. 0: for ever."""

    keep_logs: float = 0.0
    """How long the output of runs that have ended is kept. 0: as long as the runs."""

    keep_events: float = 0.0
    """How long the history of runs that have ended is kept. 0: as long as the runs."""

    keep_code: float = 7 * 24 * 3600.0
    """How long code archives are kept that no snapshot has. 0: for ever."""

    keep_decisions: float = 30 * 24 * 3600.0
    """How long it is remembered what became of attempts to start a run."""

    price_per_hour: float = 0.0
    """What an hour of a run costs, for estimates; a template's terms may say otherwise. 0: not known, and nothing is estimated."""

    currency: str = "USD"
    """What prices are in; any word will do."""

    callback_allow: str = ""
    """Networks (`10.1.0.0/16`) whose addresses may be called back though they are not public, with commas between."""

    callback_timeout: float = 15.0
    """How long a receiver may take to answer a callback."""

    keep_callbacks: float = 30 * 24 * 3600.0
    """How long callbacks are kept that were delivered or given up."""

    keep_audit: float = 365 * 24 * 3600.0
    """How long entries of the audit log are kept. 0: for ever."""

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
    def shared_directory(self) -> Path:
        """`shared` with its default."""
        return Path(self.shared).expanduser().absolute() if self.shared else self.home

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


def listed(text: str) -> tuple[str, ...]:
    """The entries of a setting that takes several, with commas between."""
    return tuple(filter(None, (one.strip() for one in text.split(","))))
