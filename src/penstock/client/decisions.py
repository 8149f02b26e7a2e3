"""Decisions: what became of each attempt to start a run."""

from __future__ import annotations

from typing import TypedDict, Unpack

from penstock.client.connection import Connection, path
from penstock.client.page import Page
from penstock.model.decision import Decision


class DecisionFilter(TypedDict, total=False):
    """What a list of decisions can be narrowed by."""

    verdict: str | None
    template: str | None
    run_id: str | None
    account: str | None
    page: int | None


class Decisions:
    """Attempts to start a run, refused ones too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, decision_id: str) -> Decision:
        """One of them. Raises `NotFound`."""
        return self._connection.fetch(Decision, "GET", path("decisions", decision_id))

    def list(self, *, size: int = 20, cursor: str | None = None, **filters: Unpack[DecisionFilter]) -> Page[Decision]:
        """One page of them, newest first."""
        query = {"size": size, "cursor": cursor, **filters}
        return self._connection.fetch(Page[Decision], "GET", "/decisions", query=query)
