"""HTTP/1.1 as uvicorn reads it, with what that leaves open: bounds on the head of a request, and on the time it takes to come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from penstock.errors import HeadTooLarge, MalformedRequest, PenstockError, TooSlow

HEAD_LIMIT = 64 * 1024
"""Largest request line with all headers, in bytes."""

HEADERS_LIMIT = 200
"""Most headers of one request."""

PATIENCE = 20.0
"""Seconds that the head of a request may take, counted from the connection or from its first byte; and its body, besides
the time that it needs at `SLOWEST`.
"""

SLOWEST = 16 * 1024
"""Bytes a second: who sends a body more slowly keeps others waiting."""

Told = Callable[[PenstockError], tuple[int, list[tuple[bytes, bytes]], bytes]]
"""Status, headers and body of the answer for an error."""


class Inbound(HttpToolsProtocol):
    """One connection. What cannot be read, or does not come, is answered with a problem document, and ends it.

    The bound on bodies holds whatever reads them: an application that waits for the rest finds that its caller has gone.
    """

    patience = PATIENCE

    _read = 0
    """Bytes of the head that comes, or of the body that comes."""

    _headers_read = 0
    _in_body = False
    _since = 0.0
    """When the body began to come."""

    _refusal: PenstockError | None = None
    _hurry: asyncio.TimerHandle | None = None

    @staticmethod
    def told(error: PenstockError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """How an error is answered here."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._has_come()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on. A head that has no end within its limit is refused: the parser alone would keep all of it."""
        if not self._in_body:
            self._read += len(data)
        super().data_received(data)
        if self._in_body:
            self._wait_for_body()
        elif self._read > HEAD_LIMIT:
            self._refuse(HeadTooLarge(f"The request line and the headers have more than {HEAD_LIMIT} bytes."))
        elif self._read:
            self._wait_for_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._headers_read = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header."""
        self._headers_read += len(name) + len(value)
        if len(self.headers) >= HEADERS_LIMIT or self._headers_read > HEAD_LIMIT:
            self._refusal = HeadTooLarge(f"There are more than {HEADERS_LIMIT} headers or {HEAD_LIMIT} bytes of them.")
            raise self._refusal
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._has_come()
        super().on_headers_complete()
        self._in_body, self._read = True, 0

    def on_body(self, body: bytes) -> None:
        """A part of the body is there."""
        self._read += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is there."""
        self._in_body, self._read = False, 0
        self._has_come()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Say that what came was no HTTP, or why it is refused."""
        self._refuse(self._refusal or MalformedRequest("This is no HTTP/1.1 request."))

    # Time

    def _wait_for_head(self) -> None:
        if self._hurry is None and not self.transport.is_closing():
            late = TooSlow(f"The head of the request did not come within {self.patience:g} s.")
            self._hurry = self.loop.call_later(self.patience, self._refuse, late)

    def _wait_for_body(self) -> None:
        """A body that comes together with its head, as nearly all do, needs no timer."""
        if self._hurry is None and not self.transport.is_closing():
            self._since = self.loop.time()
            self._hurry = self.loop.call_later(self.patience, self._look_for_body)

    def _look_for_body(self) -> None:
        """Its time grows with what has come of it, and begins anew if it was us who did not read on."""
        now = self.loop.time()
        if self.flow.read_paused:
            self._since, self._read = now, 0
        left = self._since + self.patience + self._read / SLOWEST - now
        if left > 0:
            self._hurry = self.loop.call_later(left, self._look_for_body)
        else:
            self._refuse(TooSlow("The body did not come in time."))

    def _has_come(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None

    # Refusal

    def _refuse(self, error: PenstockError) -> None:
        """Answer, if nothing else is being answered on this connection, and end it."""
        self._has_come()
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn says of its type
        if self._in_body:
            free = not self.pipeline and not cycle.response_started
            cycle.disconnected = True  # what the application says from now on is not written behind our answer
            cycle.message_event.set()
        else:
            free = cycle is None or cycle.response_complete
        if free:
            status, headers, body = self.told(error)
            headers = [*headers, (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
            lines = [name + b": " + value + b"\r\n" for name, value in headers]
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()


def inbound(told: Told, patience: float = PATIENCE) -> type[Inbound]:
    """The protocol of a program that answers errors as `told` has it."""
    return type("Inbound", (Inbound,), {"told": staticmethod(told), "patience": patience})
