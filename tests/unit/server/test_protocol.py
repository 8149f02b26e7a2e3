"""Heads of requests over real connections: too large, too slow, not HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from penstock.server import protocol
from penstock.server.protocol import HEAD_LIMIT, HEADERS_LIMIT, Protocol

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def connected(talk: Talk) -> Any:
    """What `talk` returns, which has a connection to a server of its own."""

    async def serve() -> Any:
        config = uvicorn.Config(app, ws="none", http=Protocol, log_config=None, lifespan="off")
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            return await asyncio.wait_for(talk(reader, writer), 20)
        finally:
            writer.close()
            server.close()

    return asyncio.run(serve())


def said(*parts: bytes) -> bytes:
    """All that the server answers until it closes the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for part in parts:
            writer.write(part)
            try:
                await writer.drain()
            except ConnectionError:
                break
        return await reader.read()

    found: bytes = connected(talk)
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


def test_a_body_that_cannot_be_read_ends_the_connection() -> None:
    assert said(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n") == b""


class TestPatience:
    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "HEAD_PATIENCE", 0.3)

    @pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
    def test_a_head_that_does_not_come_ends_the_connection(self, begun: bytes) -> None:
        assert refused(said(begun)) == (408, "too-slow")

    def test_nor_does_one_that_drips(self) -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            answer = asyncio.ensure_future(reader.read())
            writer.write(b"GET / HTTP/1.1\r\nX: ")
            while not (await asyncio.wait([answer], timeout=0.02))[0]:
                writer.write(b"y")
            return answer.result()

        assert refused(connected(drip)) == (408, "too-slow")

    def test_the_second_request_on_a_connection_has_as_long(self) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
            writer.write(b"GET / ")
            return await reader.read()

        assert refused(connected(talk)) == (408, "too-slow")

    def test_an_answer_that_takes_longer_is_not_cut(self) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhel")
            await asyncio.sleep(0.6)  # slow: the body has a patience of its own
            writer.write(b"lo")
            return await reader.read()

        assert connected(talk).startswith(b"HTTP/1.1 200 ")
