"""One method: send a request, get a response. Over a Unix socket or TCP, with kept-alive connections."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from penstock.errors import PenstockError, RunFailed, ServerUnreachable, from_problem
from penstock.model.trace import TRACEPARENT, context_of, name_of

PREFIX = "/api/v1"
IDLE = 20.0
"""Seconds after which a kept-alive connection is not trusted any more; the server keeps them longer."""

_BLOCK = 1024 * 1024
_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})


@dataclass(frozen=True)
class Response:
    """A whole answer. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as plain JSON values."""
        return msgspec.json.decode(self.body)


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Transport:
    """Requests to one server. Thread-safe, and safe to use on both sides of a fork.

    `address` is `unix:/path/to/socket` or `http(s)://host[:port][/prefix]`. Every answer of 400 and above is raised as
    the error that its problem document names; a server that cannot be reached is `ServerUnreachable`.
    """

    def __init__(self, address: str, token: str | None = None, *, timeout: float | None = 30.0) -> None:
        self.address = address
        self._timeout = timeout
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._base = ""
        if not address.startswith("unix:"):
            url = urlsplit(address)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise ServerUnreachable(f"'{address}' is no server address: expected http(s)://host[:port].")
            self._base = url.path.rstrip("/")

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send one request and read the whole answer.

        `path` is below `/api/v1` unless it starts with `//`; `json` is any record of `model/` or JSON value; `timeout`
        (seconds) bounds each wait for the server, not the whole.
        """
        sent = {**self._headers, **_trace(), **(headers or {})}
        if json is not None:
            body = msgspec.json.encode(json)
            sent.setdefault("Content-Type", "application/json")
        target = self._target(path, query)
        connection, reused = self._take(timeout or self._timeout)
        try:
            answer = self._exchange(connection, method, target, body, sent)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if not reused or method not in _REPEATABLE:
                raise self._unreachable(error) from error
            # The server may have closed a kept-alive connection just now; repeating these methods changes nothing.
            connection = self._open(timeout or self._timeout)
            try:
                answer = self._exchange(connection, method, target, body, sent)
            except (OSError, http.client.HTTPException) as again:
                connection.close()
                raise self._unreachable(again) from again
        self._give_back(connection)
        return _checked(answer)

    def stream(
        self, path: str, *, query: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[bytes]:
        """The lines of an endless answer (server-sent events), as they come, without line ends."""
        with self._answer(path, query, headers) as answer:
            for line in answer:
                yield line.rstrip(b"\r\n")

    def blocks(self, path: str) -> Iterator[bytes]:
        """The body of an answer that may be too big for memory. A connection that breaks may look like its end."""
        with self._answer(path, None, None) as answer:
            while block := answer.read(_BLOCK):
                yield block

    @contextmanager
    def _answer(
        self, path: str, query: Mapping[str, Any] | None, headers: Mapping[str, str] | None
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer to be read while it comes, over a connection of its own."""
        connection = self._open(self._timeout)
        try:
            connection.request("GET", self._target(path, query), headers={**self._headers, **(headers or {})})
            answer = connection.getresponse()
            if answer.status >= 400:
                _checked(_read(answer))
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def __del__(self) -> None:
        if self._pid == os.getpid():
            self.close()

    def close(self) -> None:
        """Close the idle connections; the transport can still be used."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _target(self, path: str, query: Mapping[str, Any] | None) -> str:
        target = self._base + (path[1:] if path.startswith("//") else PREFIX + path)
        given = {key: value for key, value in (query or {}).items() if value is not None}
        return f"{target}?{urlencode(given, doseq=True)}" if given else target

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> Response:
        connection.request(method, target, body=body, headers=headers)
        return _read(connection.getresponse())

    def _take(self, timeout: float | None) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._pid != os.getpid():  # a fork copies the sockets: they belong to the parent
                self._idle, self._pid = [], os.getpid()
            while self._idle:
                since, connection = self._idle.pop()
                if time.monotonic() - since < IDLE and connection.sock is not None:
                    connection.sock.settimeout(timeout)
                    return connection, True
                connection.close()
        return self._open(timeout), False

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        if connection.sock is not None:
            with self._lock:
                self._idle.append((time.monotonic(), connection))

    def _open(self, timeout: float | None) -> http.client.HTTPConnection:
        if self.address.startswith("unix:"):
            return _UnixConnection(self.address.removeprefix("unix:"), timeout)
        url = urlsplit(self.address)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        return kind(url.hostname or "", url.port, timeout=timeout)

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        where = self.address.removeprefix("unix:")
        return ServerUnreachable(f"The Penstock server at {where} does not answer ({error or type(error).__name__}).")


def _trace() -> dict[str, str]:
    """The trace that this belongs to, so that a run which a step starts is in the trace of that step."""
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry.trace import get_current_span  # optional, and somebody has imported it already

        found = get_current_span()
        if found.get_span_context().is_valid:
            return {"traceparent": name_of(found)}
    context = context_of(os.environ.get(TRACEPARENT))
    return {"traceparent": context} if context else {}


def segment(text: str) -> str:
    """`text` as one segment of a path: a name with a slash stays one name."""
    return quote(text, safe="@")


def _read(answer: http.client.HTTPResponse) -> Response:
    body = answer.read()
    return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)


def _checked(answer: Response) -> Response:
    if answer.status < 400:
        return answer
    try:
        document = answer.json()
    except msgspec.DecodeError:
        document = {}
    if isinstance(document, dict) and str(document.get("type", "")).startswith("urn:penstock:"):
        raise from_problem(document, answer.status)
    if isinstance(document, dict) and document.get("success") is False:  # of a deployment: the pipeline was run
        raise RunFailed(str(document.get("error")))
    text = answer.body[:200].decode(errors="replace")
    raise PenstockError(f"The server answered {answer.status}: {text or 'nothing more'}. Is this a Penstock server?")
