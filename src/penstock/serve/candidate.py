"""The way to the companion that serves the candidate of a trial: HTTP on the loop, with connections that are kept."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from penstock.model.trial import TrialOrder

CONNECT = 1.0
"""Seconds that a connection may take to come about, and that the question whether it is ready may take."""

LOOK = 0.2
"""Seconds between two questions whether it is ready, while it is not."""

GIVEN_UP = 2.0
"""Seconds that it may be away before what it was asked is given up. Who waits for it is waiting all that time."""

IDLE = 20.0
"""Seconds for which a connection is kept that nobody uses."""

LINGER = 5.0
"""Seconds that an answer may take beyond the time in which it would be 504 there."""

LARGEST = 64 * 1024 * 1024
"""Bytes of an answer."""

_AWAY = frozenset({401, 403, 404, 405, 408, 429, 502, 503})
"""What is answered by nobody, by somebody else, or by one who is not ready or has too much to do."""


class Unreached(Exception):  # it is not always an error
    """The candidate was not asked: it can be asked elsewhere, and nothing is done twice."""


class Lost(Exception):  # as above
    """The candidate was asked, and there is no answer; it may have begun."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What it has answered."""

    status: int
    kind: bytes
    """The type of its content."""

    body: bytes


class Candidate:
    """The companion of one trial. To be used on the loop. It is asked nothing before it has said that it is ready."""

    def __init__(self, order: TrialOrder) -> None:
        self.ready = False
        self._order = order
        url = urlsplit(order.url)
        self._host, self._port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._base = url.path.rstrip("/")
        self._netloc = url.netloc.rpartition("@")[2]
        self._idle: list[tuple[float, _Connection]] = []
        self._busy: set[_Connection] = set()
        self._closed = False
        self._doubted = asyncio.Event()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def ask(self, body: bytes, headers: dict[str, str]) -> Reply:
        """What `/invoke` answers there. Raises `Unreached` and `Lost`."""
        if not self.ready:
            raise Unreached
        connection = self._kept() or await self._connected()
        given = {"Content-Type": "application/json", "Authorization": f"Bearer {self._order.key}", **headers}
        reply = await self._exchanged(connection, "POST", self._order.path, given, body, self._order.timeout + LINGER)
        if reply.status in _AWAY:
            self._doubt()
            raise Unreached
        return reply

    async def close(self) -> None:
        """Ask nothing more; what is being asked may end."""
        self.ready, self._closed = False, True
        self._watching.cancel()
        for _, connection in self._idle:
            connection.end()
        self._idle.clear()

    # Whether it is there

    def _doubt(self) -> None:
        self.ready = False
        self._doubted.set()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        since = loop.time()
        while True:
            self.ready = await self._is_ready()
            if self.ready:
                self._doubted.clear()
                await self._doubted.wait()
                since = loop.time()
                continue
            if loop.time() - since > GIVEN_UP:
                for connection in list(self._busy):
                    connection.end()
            await asyncio.sleep(LOOK)

    async def _is_ready(self) -> bool:
        try:
            connection = self._kept() or await self._connected()
            reply = await self._exchanged(connection, "GET", self._order.ready_path, {}, b"", CONNECT)
        except (Unreached, Lost):
            return False
        return reply.status == 200

    # Connections

    def _kept(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, connection = self._idle.pop()
            if now - since < IDLE and not connection.ended:
                return connection
            connection.end()
        return None

    async def _connected(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT):
                _, made = await loop.create_connection(
                    lambda: _Connection(loop, self._ended), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError) as error:
            self._doubt()
            raise Unreached from error
        return made

    def _ended(self, connection: _Connection) -> None:
        """A connection has ended from the other side: whoever was there may be gone."""
        self._idle = [one for one in self._idle if one[1] is not connection]
        self._doubt()

    async def _exchanged(
        self, connection: _Connection, method: str, path: str, headers: dict[str, str], body: bytes, patience: float
    ) -> Reply:
        self._busy.add(connection)
        try:
            async with asyncio.timeout(patience):
                reply = await connection.exchange(_request(method, self._base + path, self._netloc, headers, body))
        except TimeoutError:
            connection.end()
            raise Lost("There was no answer in time.") from None
        except BaseException:  # also if whoever waits for it does not any more
            connection.end()
            raise
        finally:
            self._busy.discard(connection)
        if self._closed or connection.ended or not connection.keeps:
            connection.end()
        else:
            self._idle.append((asyncio.get_running_loop().time(), connection))
        return reply


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[_Connection], None]) -> None:
        self._loop = loop
        self._told = ended
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self.ended = False
        self.keeps = True
        self._start()

    def _start(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._size = 0
        self._kind = b"application/json"

    async def exchange(self, request: bytes) -> Reply:
        """Send a request; its answer. Raises `Lost`."""
        if self.ended or self._transport is None:
            raise Lost("The connection has ended.")
        self._start()
        self._answer = self._loop.create_future()
        self._transport.write(request)
        return await self._answer

    def end(self) -> None:
        """Close it, for reasons of our own."""
        self.ended = True
        if self._transport is not None:
            self._transport.abort()
        self._fail("The candidate was away.")

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Lost(why))

    # What asyncio tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is there."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._size += len(data)
        if self._size > LARGEST:
            self._fail("The answer is too large.")
            self.end()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("The answer is no HTTP.")
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is not there any more."""
        by_us, self.ended = self.ended, True
        self._fail("The connection broke before there was an answer.")
        if not by_us:
            self._told(self)

    # What the parser tells

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header."""
        if name.lower() == b"content-type":
            self._kind = value

    def on_body(self, body: bytes) -> None:
        """Take in a part of the body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        reply = Reply(self._parser.get_status_code(), self._kind, b"".join(self._parts))
        self.keeps = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)


def _request(method: str, path: str, host: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}"] if method == "POST" else []
    with contextlib.suppress(UnicodeEncodeError):
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
    raise Unreached
