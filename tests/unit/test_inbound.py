"""Requests over real connections: too large, too slow, not HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from penstock.inbound import HEAD_LIMIT, HEADERS_LIMIT, Inbound, inbound
from penstock.serve.answers import problem
from penstock.server.problems import bare

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body to its end, and says how that was."""
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    ENDS.append(message["type"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def hasty(scope: Any, receive: Any, send: Any) -> None:
    """Answers before it has read anything."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def busy(scope: Any, receive: Any, send: Any) -> None:
    """Does something else first."""
    await asyncio.sleep(1.0)  # slow: longer than the patience that these tests have
    await app(scope, receive, send)


ENDS: list[str] = []
"""How bodies ended."""


def connected(talk: Talk, application: Any = app, kind: type[Inbound] | None = None) -> Any:
    """What `talk` returns, which has a connection to a server of its own."""
    kind = kind or inbound(bare)

    async def serve() -> Any:
        config = uvicorn.Config(application, ws="none", http=kind, log_config=None, lifespan="off")
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: kind(config, state, {}), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            return await asyncio.wait_for(talk(reader, writer), 20)
        finally:
            writer.close()
            server.close()
            await asyncio.gather(*state.tasks)

    ENDS.clear()
    return asyncio.run(serve())


def said(*parts: bytes, application: Any = app, kind: type[Inbound] | None = None) -> bytes:
    """All that the server answers until it closes the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for part in parts:
            writer.write(part)
            try:
                await writer.drain()
            except ConnectionError:
                break
        return await reader.read()

    found: bytes = connected(talk, application, kind)
    return found


def refused(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"x-content-type-options: nosniff" in head
    problem = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % problem["status"])
    return problem["status"], problem["type"].rpartition(":")[2]


def many(headers: Iterable[bytes]) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(headers) + b"Connection: close\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        many(b"X-%d: y\r\n" % number for number in range(HEADERS_LIMIT + 10)),
        many([b"X: " + b"y" * HEAD_LIMIT + b"\r\n"]),
        b"GET /" + b"y" * HEAD_LIMIT + b" HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n" + b"X" * (HEAD_LIMIT + 1),
        b"GET / HTTP/1.1\r\nX: " + b"y" * (HEAD_LIMIT + 1),
    ],
    ids=["many", "long", "endless line", "endless name", "endless value"],
)
def test_a_head_that_is_too_large_is_refused_with_or_without_an_end(head: bytes) -> None:
    assert refused(said(head)) == (431, "head-too-large")


def test_one_within_the_limits_is_read() -> None:
    answer = said(many([*(b"X-%d: y\r\n" % number for number in range(100)), b"X: " + b"y" * 30_000 + b"\r\n"]))
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\nX: y\rZ: z\n\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"FOO\x01 / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_two_servers_could_read_in_two_ways_is_refused(garbage: bytes) -> None:
    assert refused(said(garbage)) == (400, "malformed-request")


def test_a_body_that_cannot_be_read_is_refused() -> None:
    answer = said(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert refused(answer) == (400, "malformed-request")
    assert ENDS == ["http.disconnect"]


def test_errors_are_answered_as_whoever_listens_has_it() -> None:
    answer = said(b"nonsense\r\n\r\n", kind=inbound(problem))
    assert b"x-content-type-options" not in answer
    assert answer.startswith(b"HTTP/1.1 400 ")


class TestPatience:
    brief = inbound(bare, patience=0.3)

    @pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n", b"\r\n"])
    def test_a_head_that_does_not_come_ends_the_connection(self, begun: bytes) -> None:
        assert refused(said(begun, kind=self.brief)) == (408, "too-slow")

    def test_nor_does_one_that_drips(self) -> None:
        assert refused(connected(dripping(b"GET / HTTP/1.1\r\nX: "), kind=self.brief)) == (408, "too-slow")

    def test_the_second_request_on_a_connection_has_as_long(self) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
            writer.write(b"GET / ")
            return await reader.read()

        assert refused(connected(talk, kind=self.brief)) == (408, "too-slow")

    @pytest.mark.parametrize("begun", [b"", b"hel"])
    def test_a_body_that_does_not_come_is_refused_and_its_reader_finds_nobody(self, begun: bytes) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
        assert refused(said(head, begun, kind=self.brief)) == (408, "too-slow")
        assert ENDS == ["http.disconnect"]

    def test_nor_may_one_drip(self) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
        assert refused(connected(dripping(head), kind=self.brief)) == (408, "too-slow")

    def test_a_large_body_has_the_time_that_it_needs(self) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40005\r\nConnection: close\r\n\r\n")
            writer.write(b"a" * 40_000)
            await asyncio.sleep(1.0)  # slow: longer than the patience, and not longer than 40,000 bytes may take
            writer.write(b"hello")
            return await reader.read()

        assert connected(talk, kind=self.brief).startswith(b"HTTP/1.1 200 ")

    def test_nobody_is_blamed_for_what_we_did_not_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("penstock.inbound.SLOWEST", 2**30)  # so that a body has no time besides the patience

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\nConnection: close\r\n\r\n")
            writer.write(b"a" * 9_000_000)
            return await reader.read()

        assert connected(talk, busy, kind=self.brief).startswith(b"HTTP/1.1 200 ")

    def test_a_body_that_nobody_waits_for_may_not_drip_either(self) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
        answer = connected(dripping(head), hasty, kind=self.brief)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"ok")

    def test_an_answer_may_take_longer(self) -> None:
        sent = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        assert said(sent, application=busy, kind=self.brief).startswith(b"HTTP/1.1 200 ")


def dripping(begin: bytes) -> Talk:
    """All that is answered to somebody who goes on with one byte after the other."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        answer = asyncio.ensure_future(all_of(reader))
        writer.write(begin)
        while not (await asyncio.wait([answer], timeout=0.02))[0]:
            writer.write(b"y")
        return answer.result()

    return drip


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """What comes, though the connection be reset at its end: that is what becomes of bytes that nobody reads any more."""
    parts = []
    with suppress(ConnectionError):
        while part := await reader.read(65536):
            parts.append(part)
    return b"".join(parts)
