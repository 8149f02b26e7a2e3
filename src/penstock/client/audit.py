"""The audit log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.client.connection import Connection
from penstock.client.page import Page
from penstock.model.audit import Entry, Verdict


class Audit:
    """Who did what. For admins."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, *, size: int = 20, cursor: str | None = None, **filters: Any) -> Page[Entry]:
        """One page of entries, newest first; the filters are those of `GET /api/v1/audit`."""
        return self._connection.fetch(Page[Entry], "GET", "/audit", query={"size": size, "cursor": cursor, **filters})

    def verify(self, *, anchor: str | None = None) -> Verdict:
        """Whether the whole log is as it was written. `anchor` is NUMBER:DIGEST of an entry, as noted elsewhere."""
        return self._connection.fetch(Verdict, "GET", "/audit/verify", query={"anchor": anchor}, timeout=3600.0)

    def export(self) -> Iterator[bytes]:
        """All entries in order, as lines of JSON, in blocks."""
        return self._connection.blocks("/audit/export")
