"""Pipelines, under whose names snapshots gather."""

from __future__ import annotations

from penstock.client.connection import Connection, path
from penstock.client.page import Page
from penstock.model.pipeline import Pipeline


class Pipelines:
    """The pipelines that the server knows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, ref: str) -> Pipeline:
        """The pipeline with this id or name. Raises `NotFound`."""
        return self._connection.fetch(Pipeline, "GET", path("pipelines", ref))

    def list(
        self, *, name: str | None = None, q: str | None = None, size: int = 20, cursor: str | None = None
    ) -> Page[Pipeline]:
        """One page of pipelines; with `q`, of those that have all these words in their name."""
        query = {"name": name, "q": q, "size": size, "cursor": cursor}
        return self._connection.fetch(Page[Pipeline], "GET", "/pipelines", query=query)
