"""The database under drill: a file in the home, or one of its own on a PostgreSQL server, made for the drill and dropped after it."""

from __future__ import annotations

import secrets
import time
from random import Random
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from penstock.errors import PenstockError

if TYPE_CHECKING:
    from psycopg import Connection


class Database(Protocol):
    """Where the installation keeps its records."""

    url: str
    """What `PENSTOCK_DATABASE_URL` says; empty for the file in the home."""

    name: str
    """What it is, in words."""

    def strike(self, chance: Random) -> str:
        """Take it away for a while and bring it back; what was done, in words. Only a server can be struck."""

    def close(self) -> None:
        """Remove it."""


class SQLite:
    """The file in the home."""

    url = ""
    name = "SQLite"

    def strike(self, chance: Random) -> str:
        """A file is not taken away: what may happen to it is a full disk."""
        raise PenstockError("SQLite has no server that could be taken away.")

    def close(self) -> None:
        """It goes with its home."""


class PostgreSQL:
    """A new database beside the one at `server`, whose owner must be allowed to make databases.

    It is struck as far as that owner can: its connections are ended, and for a while nobody gets a new one.
    """

    def __init__(self, server: str) -> None:
        self._server = _plain(server)
        self._database = f"penstock_drill_{secrets.token_hex(4)}"
        with self._connected() as connection:
            connection.execute(f"CREATE DATABASE {self._database}")
            version = connection.info.server_version // 10000
        self.name = f"PostgreSQL {version}"
        self.url = _named(self._server, self._database).replace("postgresql://", "postgresql+psycopg://", 1)

    def strike(self, chance: Random) -> str:
        """End all connections; half the time keep new ones out for a while."""
        seconds = chance.choice((0.0, chance.uniform(0.5, 5.0)))
        with self._connected() as connection:
            try:
                if seconds:
                    connection.execute(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS false")
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._database]
                )
                time.sleep(seconds)
            finally:
                connection.execute(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS true")
        return f"every connection was ended, and none let in for {seconds:.1f} s"

    def close(self) -> None:
        """Drop it, whoever is still connected."""
        with self._connected() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {self._database} WITH (FORCE)")

    def _connected(self) -> Connection[Any]:
        try:
            import psycopg  # optional: only those who have PostgreSQL need its driver
        except ModuleNotFoundError:
            raise PenstockError("PostgreSQL needs a driver: pip install 'penstock[postgres]'.") from None
        try:
            return psycopg.connect(self._server, autocommit=True, connect_timeout=10)
        except psycopg.Error as error:
            raise PenstockError(f"The database server does not let a drill in: {error}") from error


def at(url: str) -> Database:
    """The database for a drill of an installation whose `PENSTOCK_DATABASE_URL` this is; that one is left alone."""
    return PostgreSQL(url) if url.startswith(("postgres:", "postgresql:", "postgresql+psycopg:")) else SQLite()


def _plain(url: str) -> str:
    """The URL as PostgreSQL's own library takes it."""
    for scheme in ("postgresql+psycopg://", "postgres://"):
        if url.startswith(scheme):
            return url.replace(scheme, "postgresql://", 1)
    return url


def _named(url: str, database: str) -> str:
    """The same server, another database. What has no host keeps its empty place: the address of a socket is in the query."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/{database}{query}"
