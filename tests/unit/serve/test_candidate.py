"""The way to a candidate, against a server of the test's own that behaves as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from penstock.model.trial import TrialOrder
from penstock.serve import candidate
from penstock.serve.candidate import Candidate, Lost, Unreached

PATIENCE = 20.0
OK = b'{"outputs":{"a":1},"execution_time":0.5,"metadata":{"run_id":"r2"}}'


@dataclass
class Stage:
    """A server that answers `/invoke` with `status` and `body`, or does `deed` instead."""

    status: int = 200
    body: bytes = OK
    ready: bool = True
    deed: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None
    heads: list[bytes] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"POST"):
                    self.heads.append(head)
                    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    await reader.readexactly(length)
                    if self.deed is not None:
                        await self.deed(reader, writer)
                        continue
                    self._answer(writer, self.status, self.body)
                else:
                    self._answer(writer, 200 if self.ready else 503, b"{}")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    def _answer(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: a/b\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)

    def order(self, timeout: float = 60.0) -> TrialOrder:
        return TrialOrder(
            trial_id="t",
            kind="mirror",
            share=1.0,
            snapshot_id="s2",
            url=f"http://127.0.0.1:{self.port}",
            path="/invoke",
            ready_path="/ready",
            key="secret",
            timeout=timeout,
        )


@asynccontextmanager
async def staged(timeout: float = 60.0) -> AsyncIterator[tuple[Stage, Candidate]]:
    """A server, and the way to it."""
    stage = Stage()
    server = await asyncio.start_server(stage.serve, "127.0.0.1", 0)
    stage.port = server.sockets[0].getsockname()[1]
    way = Candidate(stage.order(timeout))
    try:
        yield stage, way
    finally:
        await way.close()
        await asyncio.sleep(0.02)  # poll: what knocks at this moment is let in first, and closed with the others
        server.close()
        for _ in range(20):  # what is cancelled closes its connections after that, and some are still being accepted
            for one in stage.connections:
                one.close()
            await asyncio.sleep(0)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # poll: a condition is waited for, with a deadline


def test_it_is_asked_when_it_is_ready_over_connections_that_are_kept() -> None:
    async def work() -> None:
        async with staged() as (stage, way):
            with pytest.raises(Unreached):
                await way.ask(b"{}", {})
            await until(lambda: way.ready)
            for _ in range(5):
                reply = await way.ask(b"{}", {"traceparent": "00-1"})
                assert (reply.status, reply.kind, reply.body) == (200, b"a/b", OK)
            assert len(stage.connections) == 1
            assert b"Authorization: Bearer secret\r\n" in stage.heads[0]
            assert b"traceparent: 00-1\r\n" in stage.heads[0]
            replies = await asyncio.gather(*(way.ask(b"{}", {}) for _ in range(20)))
            assert {one.status for one in replies} == {200}

    asyncio.run(work())


@pytest.mark.parametrize("status", sorted(candidate._AWAY))
def test_who_is_not_there_or_has_too_much_to_do_is_asked_again_later(status: int) -> None:
    async def work() -> None:
        async with staged() as (stage, way):
            await until(lambda: way.ready)
            stage.status, stage.ready = status, False
            with pytest.raises(Unreached):
                await way.ask(b"{}", {})
            assert not way.ready
            stage.status, stage.ready = 200, True
            await until(lambda: way.ready)
            assert (await way.ask(b"{}", {})).status == 200

    asyncio.run(work())


def test_what_breaks_off_what_is_no_http_and_what_takes_too_long_is_lost() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def chatter(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"what?\r\n\r\n")

    async def sleep(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(PATIENCE)  # slow: nobody is to wait for it

    async def work() -> None:
        async with staged(timeout=0.1 - candidate.LINGER) as (stage, way):
            for deed in (hang_up, chatter, sleep):
                stage.deed = None
                await until(lambda: way.ready)
                stage.deed = deed
                with pytest.raises(Lost):
                    await way.ask(b"{}", {})

    asyncio.run(work())


def test_its_death_is_seen_at_once_and_its_return_soon() -> None:
    async def work() -> None:
        stage = Stage()
        server = await asyncio.start_server(stage.serve, "127.0.0.1", 0)
        stage.port = server.sockets[0].getsockname()[1]
        way = Candidate(stage.order())
        await until(lambda: way.ready)
        server.close()
        for one in stage.connections:
            one.close()
        await until(lambda: not way.ready)
        with pytest.raises(Unreached):
            await way.ask(b"{}", {})
        again = await asyncio.start_server(stage.serve, "127.0.0.1", stage.port)
        await until(lambda: way.ready)
        assert (await way.ask(b"{}", {})).status == 200
        await way.close()
        again.close()
        for one in stage.connections:
            one.close()
        await asyncio.sleep(0)

    asyncio.run(work())


def test_what_it_is_at_is_given_up_when_it_is_away_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate, "GIVEN_UP", 0.1)
    monkeypatch.setattr(candidate, "LOOK", 0.01)

    async def never(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(PATIENCE)  # slow: nobody is to wait for it

    async def work() -> None:
        async with staged() as (stage, way):
            await until(lambda: way.ready)
            stage.deed = never
            asked = asyncio.ensure_future(way.ask(b"{}", {}))
            await until(lambda: bool(stage.heads))
            stage.ready = False
            way._doubt()
            with pytest.raises(Lost):
                await asyncio.wait_for(asked, PATIENCE / 2)

    asyncio.run(work())


def test_who_does_not_wait_any_more_ends_the_connection() -> None:
    async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def work() -> None:
        async with staged() as (stage, way):
            await until(lambda: way.ready)
            stage.deed = never
            asked = asyncio.ensure_future(way.ask(b"{}", {}))
            await until(lambda: bool(stage.heads))
            asked.cancel()
            await until(lambda: all(one.transport.is_closing() for one in stage.connections))
            assert asked.cancelled()

    asyncio.run(work())
