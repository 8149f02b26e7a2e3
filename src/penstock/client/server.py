"""The server itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from penstock.client.connection import Connection
from penstock.model.retention import Swept


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """What a server says of itself. `url` is None while it listens on its socket only."""

    version: str
    home: str | None = None
    pid: int | None = None
    python: str | None = None
    url: str | None = None
    socket: str | None = None
    database: str | None = None
    started: datetime | None = None
    runs_active: int = 0
    runs_queued: int = 0


class Server:
    """The server at the other end of this client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def address(self) -> str:
        """Where requests go: `unix:/path/to/socket` or a URL. Starts the server of this home if that is meant."""
        return self._connection.transport().address

    def sweep(self, *, dry_run: bool = False) -> Swept:
        """Remove what is older than the server's settings say that it is kept; with `dry_run` only say how much that is."""
        return self._connection.fetch(Swept, "POST", "/server/sweep", json={"dry_run": dry_run}, timeout=3600.0)

    def info(self) -> ServerInfo:
        """What the server is. Raises `Unauthenticated` without a valid key."""
        return self._connection.fetch(ServerInfo, "GET", "/info")
