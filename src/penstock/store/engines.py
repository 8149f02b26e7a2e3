"""How the databases are opened: what each of them must be told before it is used."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from functools import partial

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from penstock.errors import PenstockError


def engine(url: str, connections: int, patience: float) -> Engine:
    """The engine for a SQLAlchemy URL; nothing is opened yet. `patience`: seconds that it waits for a connection and for other processes.

    Raises `PenstockError` for a URL that cannot be used.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(parsed, connections, patience)
        return create_engine(parsed, pool_size=connections, max_overflow=0, pool_timeout=patience, pool_use_lifo=True)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise PenstockError(
            f"This database cannot be used: {error}. Give a URL such as sqlite:////path/to/file.db."
        ) from error


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
