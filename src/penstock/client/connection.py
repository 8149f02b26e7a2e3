"""What every noun of the client sends through: found at the first request, found again when a local server has gone."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from penstock.client import local, login
from penstock.client.transport import IDLE, Response, Transport, segment
from penstock.errors import InvalidInput, PenstockError, ServerUnreachable, Unavailable
from penstock.ids import new_id
from penstock.model.idempotency import IdempotencyKey
from penstock.model.wire import reader
from penstock.settings import Settings

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds for which `once` repeats a request that nobody answered."""

FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class Connection:
    """Requests whose answers are records. Thread-safe."""

    def __init__(
        self, url: str | None = None, api_key: str | None = None, *, transport: Transport | None = None
    ) -> None:
        self._url, self._api_key = url, api_key
        self._fixed = transport
        self._local: Transport | None = None
        self._closing: weakref.finalize[..., Connection] | None = None
        self._used = 0.0
        self._lock = threading.Lock()

    def transport(self) -> Transport:
        """The transport in use; the server of this home is started for it if need be."""
        with self._lock:
            if self._fixed is None and (self._local is None or time.monotonic() - self._used > IDLE):
                self._find()
            self._used = time.monotonic()
            found = self._fixed or self._local
            assert found is not None
            return found

    def send(self, method: str, path: str, **options: Any) -> Response:
        """One request; `options` are those of `Transport.request`."""
        transport = self.transport()
        try:
            return transport.request(method, path, **options)
        except ServerUnreachable:
            self._lost(transport)
            raise

    def fetch(self, kind: type[T], method: str, path: str, **options: Any) -> T:
        """One request whose answer is a `kind`."""
        return decoded(kind, self.send(method, path, **options))

    def once(self, kind: type[T], path: str, *, key: str | IdempotencyKey, **options: Any) -> T:
        """A POST that starts something, carried out at most once however often it has to be sent.

        Every attempt carries `key` as its Idempotency-Key, so after a lost answer the same request is simply repeated.
        Gives up about `PATIENCE` seconds after the first attempt.
        """
        headers = {**options.pop("headers", {}), **_headers(key)}
        deadline, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
        while True:
            self.transport()  # a server that cannot be found or started is no lost answer: not repeated
            try:
                return self.fetch(kind, "POST", path, headers=headers, **options)
            except (ServerUnreachable, Unavailable):
                if time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = backoff(pause)

    def lines(self, path: str, **options: Any) -> Iterator[bytes]:
        """The lines of an endless answer; `options` are those of `Transport.stream`."""
        transport = self.transport()
        try:
            yield from transport.stream(path, **options)
        except ServerUnreachable:
            self._lost(transport)
            raise

    def blocks(self, path: str) -> Iterator[bytes]:
        """The body of an answer that may be too big for memory."""
        transport = self.transport()
        try:
            yield from transport.blocks(path)
        except ServerUnreachable:
            self._lost(transport)
            raise

    def _find(self) -> None:
        settings = Settings.load()
        remote = login.find(settings, self._url, self._api_key)
        if remote is None:
            # Not for ever: a local server leaves when idle and makes room for a newer one.
            found = self._local = local.attach(settings)
        else:
            found = self._fixed = Transport(remote.url, remote.api_key)
        if self._closing is not None:
            self._closing()
        self._closing = weakref.finalize(self, found.close)  # nobody has to close a client: its sockets go with it

    def _lost(self, transport: Transport) -> None:
        with self._lock:
            if self._local is transport:
                self._local = None


def decoded(kind: type[T], response: Response) -> T:
    """The record in an answer."""
    try:
        return reader(kind)(response.body)
    except msgspec.DecodeError as error:
        raise PenstockError(
            f"The server's answer cannot be read ({error}). Is it a Penstock server, and no newer than this client?"
        ) from error


def _headers(key: str | IdempotencyKey) -> dict[str, str]:
    """The key as headers. What tells this call from others with the same key is sent with each attempt."""
    if isinstance(key, str):
        return {"Idempotency-Key": key}
    told = {"Idempotency-Key": key.key, "Idempotency-Conflict": key.on_conflict, "Idempotency-Attempt": new_id()}
    return told if key.until is None else {**told, "Idempotency-Until": str(key.until)}


def path(*parts: str) -> str:
    """A path below the API from its unescaped parts. An empty part would name something else: `InvalidInput`."""
    if not all(parts):
        raise InvalidInput("An empty name or id was given.")
    return "".join("/" + segment(part) for part in parts)


def given(**values: Any) -> dict[str, Any]:
    """Those of `values` that are not None: what is not given is left to the server's default."""
    return {name: value for name, value in values.items() if value is not None}


def backoff(pause: float) -> float:
    """The pause after `pause`: twice as long, scattered so that many callers do not come back together."""
    return min(pause * 2, _LONGEST_PAUSE) * random.uniform(0.75, 1.25)  # noqa: S311  (no secret)
