"""Stacks: what runs use."""

from __future__ import annotations

from penstock.client.connection import Connection, path
from penstock.client.page import Page
from penstock.model.stack import Stack


class Stacks:
    """The stacks that the server knows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, ref: str) -> Stack:
        """The stack with this id or name. Raises `NotFound`."""
        return self._connection.fetch(Stack, "GET", path("stacks", ref))

    def list(self, *, size: int = 20, cursor: str | None = None) -> Page[Stack]:
        """One page of stacks."""
        return self._connection.fetch(Page[Stack], "GET", "/stacks", query={"size": size, "cursor": cursor})
