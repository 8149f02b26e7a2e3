"""How the databases are opened: what each of them must be told before it is used."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from contextlib import suppress
from functools import partial

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from penstock.errors import PenstockError

LONGEST_STATEMENT = 30
"""Seconds after which PostgreSQL gives up a statement, or a transaction in which nothing happens: nobody holds up the rest."""

_HOST_LOST = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""A host that vanishes without a word is missed after about ten seconds, not after the two hours of the kernel."""

_EXAMPLES = "Give a URL such as sqlite:////path/to/file.db or postgresql://user:password@host/database."


def engine(url: str, connections: int, patience: float, longest: int = LONGEST_STATEMENT) -> Engine:
    """The engine for a SQLAlchemy URL; nothing is opened yet. `patience`: seconds that it waits for a connection and for other processes.

    With a `longest` of 0 a statement on PostgreSQL takes as long as it takes.
    Raises `PenstockError` for a URL that cannot be used.
    """
    if url.startswith("postgres://"):  # as many hosts of databases write it
        url = url.replace("postgres", "postgresql", 1)
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(parsed, connections, patience)
        if parsed.drivername not in ("postgresql", "postgresql+psycopg"):
            raise PenstockError(f"Penstock does not work on {parsed.drivername}. {_EXAMPLES}")
        return _postgresql_engine(parsed.set(drivername="postgresql+psycopg"), connections, patience, longest)
    except ModuleNotFoundError as error:
        if error.name == "psycopg":
            raise PenstockError("PostgreSQL needs a driver: pip install 'penstock[postgres]'.") from error
        raise
    except ArgumentError as error:
        raise PenstockError(f"This database cannot be used: {error}. {_EXAMPLES}") from error


def _postgresql_engine(url: URL, connections: int, patience: float, longest: int) -> Engine:
    limits = {
        "statement_timeout": longest,
        "idle_in_transaction_session_timeout": longest,
        "lock_timeout": patience,
    }
    said = " ".join(f"-c {name}={int(seconds * 1000)}" for name, seconds in limits.items())
    given = dict(url.query)
    arguments: dict[str, object] = {"application_name": "penstock", "connect_timeout": math.ceil(patience / 2)}
    arguments |= _HOST_LOST
    arguments = {name: value for name, value in arguments.items() if name not in given}
    # What the URL says itself comes last, and holds.
    arguments["options"] = f"{said} {given.get('options', '')}".strip()
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=patience,
        pool_use_lifo=True,  # few warm connections instead of many cold ones
        pool_pre_ping=True,  # after a restart of the database nobody is answered with the end of an old connection
        connect_args=arguments,
    )


def _sqlite_engine(url: URL, connections: int, patience: float) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise PenstockError("SQLite needs a plain file here: sqlite:////path/to/file.db.")
    made = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=patience,
        pool_use_lifo=True,  # few warm connections instead of many cold ones
        connect_args={"timeout": patience, "isolation_level": None},  # None: the driver begins nothing by itself
    )
    event.listen(made, "connect", partial(_prepare_sqlite, patience))
    return made


def _prepare_sqlite(patience: float, connection: sqlite3.Connection, _: object) -> None:
    _use_wal(connection, patience)
    # FULL: an accepted run is on the disk before its answer leaves, also if the power fails.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA journal_size_limit = 67108864")


def _use_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Switch a new file to the write-ahead log. Two processes that do so at once get `busy` without any waiting."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def create_private(path: str) -> None:
    """A database holds hashes of keys and whatever users pass: a new one is for its owner only."""
    with suppress(OSError):  # it is there, or opening it will say what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
