"""HTTP/1.1 as uvicorn reads it, with a bound on the head of a request, in bytes and in time."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from penstock.errors import HeadTooLarge, MalformedRequest, PenstockError, TooSlow
from penstock.serve.answers import problem

HEAD_LIMIT = 64 * 1024
"""Largest request line with all headers, in bytes."""

HEADERS_LIMIT = 200


class Protocol(HttpToolsProtocol):
    """One connection. What cannot be read, or does not come, is answered with a problem document, and ends it."""

    patience = 20.0
    """Seconds that the head of a request may take, counted from the connection or from its first byte."""

    _read = 0
    _headers_read = 0
    _refusal: PenstockError | None = None
    _in_body = False
    _hurry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on. A head that has no end within its limit is refused: the parser alone would keep all of it."""
        if not self._in_body:
            self._wait_for_head()
            self._read += len(data)
        super().data_received(data)
        if not self._in_body and self._read > HEAD_LIMIT:
            self._refuse(HeadTooLarge(f"The request line and the headers have more than {HEAD_LIMIT} bytes."))

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
        self._in_body, self._read = True, 0
        self._head_is_there()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is there."""
        self._in_body, self._read = False, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Say that what came was no HTTP, or why it is refused."""
        self._refuse(self._refusal or MalformedRequest("This is no HTTP/1.1 request."))

    def _wait_for_head(self) -> None:
        if self._hurry is None:
            late = TooSlow(f"The head of the request did not come within {self.patience:g} s.")
            self._hurry = self.loop.call_later(self.patience, self._refuse, late)

    def _head_is_there(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None

    def _refuse(self, error: PenstockError) -> None:
        """Answer, if nothing else is being answered on this connection, and end it."""
        self._head_is_there()
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn says of its type
        if cycle is None or cycle.response_complete:
            status, headers, body = problem(error, "")
            headers += [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
            lines = [name + b": " + value + b"\r\n" for name, value in headers]
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()


def patient_for(seconds: float) -> type[Protocol]:
    """The protocol with this patience."""
    return type("Protocol", (Protocol,), {"patience": seconds})
