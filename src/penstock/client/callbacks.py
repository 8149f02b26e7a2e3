"""Callbacks: who is told of the ends of runs, how far that has come, and the secret that receivers need."""

from __future__ import annotations

from typing import TypedDict, Unpack

from penstock.client.connection import Connection, given, path
from penstock.client.page import Page
from penstock.model.callback import Callback, CallbackSecret


class CallbackFilter(TypedDict, total=False):
    """What a list of callbacks can be narrowed by."""

    run_id: str | None
    state: str | None
    page: int | None


class Callbacks:
    """Made by starting a run with a `callback_url`. Those of one run: `client.runs.callbacks(run)`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, callback_id: str) -> Callback:
        """One of them: its tries, the last status, the next try. Raises `NotFound`."""
        return self._connection.fetch(Callback, "GET", path("callbacks", callback_id))

    def list(self, *, size: int = 20, cursor: str | None = None, **filters: Unpack[CallbackFilter]) -> Page[Callback]:
        """One page of them, newest first; what was given up has the state `dead`."""
        query = {"size": size, "cursor": cursor, **filters}
        return self._connection.fetch(Page[Callback], "GET", "/callbacks", query=query)

    def redeliver(self, callback: Callback | str) -> Callback:
        """Send it again now, under the same `webhook-id`. Raises `Conflict` before the end of its run."""
        named = callback.id if isinstance(callback, Callback) else callback
        return self._connection.fetch(Callback, "POST", path("callbacks", named, "redeliver"))

    def secret(self) -> CallbackSecret:
        """The secret with which receivers check that a callback comes from this installation."""
        return self._connection.fetch(CallbackSecret, "GET", "/callbacks/secret")

    def rotate_secret(self, *, retain_minutes: float | None = None) -> CallbackSecret:
        """Make another secret; the one before signs as well for `retain_minutes`, a day unless told otherwise."""
        body = given(retain_minutes=retain_minutes)
        return self._connection.fetch(CallbackSecret, "POST", "/callbacks/secret/rotate", json=body)
