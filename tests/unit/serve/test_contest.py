"""What a process does of a trial, in front of a service that is a double and a candidate that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import generate_latest
from starlette.types import Message

from penstock.errors import InvalidInput, RunCancelled, Unavailable
from penstock.model.run import Failure
from penstock.model.trial import Part, Rule
from penstock.runtime.mask import Mask
from penstock.serve import contest as module
from penstock.serve.contest import Contest
from penstock.serve.jobs import Result
from penstock.serve.score import Scoreboard
from tests.unit.serve.test_candidate import OK, PATIENCE, Stage, staged, until

OWN = OK.replace(b"r2", b"r1")


@dataclass
class Service:
    """A host that answers at once with `OWN`, fails, or refuses."""

    snapshot_id: str = "s1"
    heeds_callers: bool = True
    failed: bool = False
    refuses: Exception | None = None
    cancelled: bool = False
    asked: int = 0

    async def own(self, scope: Any, body: bytes, receive: Any) -> Result:
        self.asked += 1
        if self.refuses is not None:
            raise self.refuses
        stopped = RunCancelled("gone") if self.cancelled else None
        recording = SimpleNamespace(id="r1", masked=Mask())
        job = cast(Any, SimpleNamespace(stopped=stopped, recording=recording))
        return Result(job, b"{}", 0.5, Failure(type="E", message="m") if self.failed else None)

    def envelope(self, result: Result) -> bytes:
        return OWN


@dataclass
class Caller:
    """One request with what was answered."""

    contest: Contest
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    told: list[Message] = field(default_factory=list)

    async def ask(self, body: bytes = b"{}") -> tuple[int, bytes, str]:
        await self.contest.invoke({"type": "http", "headers": self.headers}, self._receive, self._send, body)
        assert [one["type"] for one in self.told] == ["http.response.start", "http.response.body"]
        headers = dict(self.told[0]["headers"])
        return self.told[0]["status"], self.told[1]["body"], headers.get(b"penstock-snapshot", b"").decode()

    async def _receive(self) -> Message:
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.told.append(message)


@asynccontextmanager
async def held(kind: str = "canary", **said: Any) -> AsyncIterator[tuple[Stage, Service, Contest]]:
    async with staged() as (stage, _):
        host = Service()
        contest = Contest(replace(stage.order(), kind=cast(Any, kind), **said), host)
        await until(lambda: contest._candidate.ready)
        try:
            yield stage, host, contest
        finally:
            await contest.close()


def news(contest: Contest) -> Part:
    return contest.taken() or Part()


def sides(part: Part) -> dict[str, tuple[int, int]]:
    """Requests and errors of each side."""
    return {
        name: (
            sum(getattr(one, name).requests for one in part.slices),
            sum(getattr(one, name).errors for one in part.slices),
        )
        for name in ("candidate", "first")
    }


def run(work: Callable[[], Any]) -> None:
    asyncio.run(work())


def test_the_candidate_answers_what_is_its_share_and_nothing_of_the_caller_goes_there() -> None:
    async def work() -> None:
        async with held() as (stage, host, contest):
            headers = [(b"authorization", b"Bearer mine"), (b"cookie", b"a=b"), (b"tracestate", b"t=1")]
            assert await Caller(contest, headers).ask() == (200, OK, "s2")
            assert b"tracestate: t=1" in stage.heads[0]
            assert b"mine" not in stage.heads[0]
            assert b"a=b" not in stage.heads[0]
            await contest.change(replace(contest.order, share=0.0))
            assert await Caller(contest).ask() == (200, OWN, "s1")
            assert host.asked == 1
            assert sides(news(contest)) == {"candidate": (1, 0), "first": (1, 0)}
            assert contest.taken() is None

    run(work)


def test_what_the_candidate_refuses_or_cannot_take_is_answered_here() -> None:
    async def work() -> None:
        async with held() as (stage, host, contest):
            stage.status = 422
            assert await Caller(contest).ask() == (200, OWN, "s1")
            assert (part := news(contest)).refused == 1
            assert sides(part) == {"candidate": (0, 0), "first": (1, 0)}
            host.refuses = InvalidInput("no")
            with pytest.raises(InvalidInput):
                await Caller(contest).ask()
            assert contest.taken() is None  # it was the caller
            host.refuses, stage.status = None, 503
            assert await Caller(contest).ask() == (200, OWN, "s1")
            assert news(contest).unreachable == 1
            assert contest.stopped is None

    run(work)


def test_one_that_fails_is_heard_by_its_callers_until_the_rule_is_broken() -> None:
    async def work() -> None:
        async with held(rule=Rule(min_requests=4)) as (stage, host, contest):
            stage.status = 500
            assert [await Caller(contest).ask() for _ in range(4)] == [(500, OK, "s2")] * 4
            assert "4 of 4 requests" in str(contest.stopped)
            assert await Caller(contest).ask() == (200, OWN, "s1")
            assert (len(stage.heads), host.asked) == (4, 1)
            assert sides(news(contest)) == {"candidate": (4, 4), "first": (1, 0)}

    run(work)


def test_what_is_lost_with_the_candidate_is_carried_out_here_and_counts_against_it() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def work() -> None:
        async with held() as (stage, _, contest):
            stage.deed = hang_up
            assert await Caller(contest).ask() == (200, OWN, "s1")
            assert sides(news(contest)) == {"candidate": (1, 1), "first": (1, 0)}

    run(work)


@pytest.mark.parametrize("heeds", [True, False])
def test_who_hangs_up_is_heeded_as_the_settings_say(heeds: bool) -> None:
    release = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (reader.read() if heeds else release.wait())
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(OK) + OK)

    async def work() -> None:
        async with held() as (stage, host, contest):
            stage.deed, host.heeds_callers = wait, heeds
            caller = Caller(contest)
            asked = asyncio.ensure_future(contest.invoke({"headers": []}, caller._receive, caller._send, b"{}"))
            await until(lambda: bool(stage.heads))
            caller.hung_up.set()
            if heeds:
                await asyncio.wait_for(asked, PATIENCE)
                await until(lambda: any(one.transport.is_closing() for one in stage.connections))
                assert (caller.told, host.asked, contest.taken()) == ([], 0, None)
            release.set()
            await asyncio.wait_for(asked, PATIENCE)

    run(work)


def test_a_mirror_answers_from_here_whatever_the_candidate_does() -> None:
    async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def work() -> None:
        async with held("mirror") as (stage, host, contest):
            stage.body = OK.replace(b'"a":1', b'"a":2')
            assert (await Caller(contest).ask())[:2] == (200, OWN)
            parts: list[Part] = []
            await until(lambda: bool(parts.append(news(contest))) or sum(one.compared for one in parts) == 1)
            total = parts[0]
            for one in parts[1:]:
                total = total.plus(one)
            assert (total.different, total.examples[0].run_id) == (1, "r1")
            assert sides(total) == {"candidate": (1, 0), "first": (1, 0)}
            stage.deed = never
            assert [(await Caller(contest).ask())[0] for _ in range(50)] == [200] * 50
            host.refuses = Unavailable("too much")
            with pytest.raises(Unavailable):
                await Caller(contest).ask()
            host.refuses, host.cancelled = None, True
            contest.taken()
            await Caller(contest).ask()
            assert contest.taken() is None  # what its caller has stopped says nothing

    run(work)


def test_an_answer_that_is_none_of_ours_fails_no_caller() -> None:
    async def work() -> None:
        async with held() as (stage, _, contest):
            deep = b"[" * 100_000 + b"]" * 100_000
            for body in (b'{"outputs":' + deep + b"}", b"[]", b"no JSON", b'{"execution_time":1e999}'):
                stage.body = body
                assert await Caller(contest).ask() == (200, body, "s2")
            assert sides(news(contest))["candidate"] == (4, 0)

    run(work)


def test_figures_that_nobody_asks_for_need_no_more_room_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is away, and the rule has been broken or not."""

    async def work() -> None:
        async with held(share=0.0, rule=Rule(window=10.0)) as (_, host, contest):
            for second in range(200):
                monkeypatch.setattr(module.time, "time", lambda now=second: 1e9 + now)
                await Caller(contest).ask()
                contest.judge()
                if second == 50:
                    contest.stopped = "It failed."
            assert len(contest._fresh) <= 11
            assert len(contest._window) <= 11
            assert sides(news(contest))["first"] == (200, 0)
            assert host.asked == 200

    run(work)


def test_the_score_is_told_for_as_long_as_the_trial_goes_on() -> None:
    async def work() -> None:
        async with held(share=0.0, rule=Rule(min_requests=2)) as (stage, _, contest):
            on: list[Contest] = [contest]
            board = Scoreboard(lambda: on[0].standing if on else None)
            await Caller(contest).ask()
            contest._count(Part(compared=3, different=2, dropped=1))
            contest.taken()  # what the server was told stays counted
            stage.status = 500
            await contest.change(replace(contest.order, share=1.0))
            for _ in range(2):
                await Caller(contest).ask()
            told = generate_latest(cast(Any, board)).decode()
            of = 'kind="canary",trial="t"'
            for line in (
                f"penstock_service_trial_share{{{of}}} 1.0",
                f"penstock_service_trial_stopped{{{of}}} 1.0",
                f"penstock_service_trial_compared_total{{{of}}} 3.0",
                f"penstock_service_trial_different_total{{{of}}} 2.0",
                f"penstock_service_trial_dropped_total{{{of}}} 1.0",
                f"penstock_service_trial_unreachable_total{{{of}}} 0.0",
                'penstock_service_trial_requests_total{kind="canary",side="candidate",trial="t"} 2.0',
                'penstock_service_trial_errors_total{kind="canary",side="candidate",trial="t"} 2.0',
            ):
                assert line in told.splitlines(), (line, told)
            on.clear()
            assert generate_latest(cast(Any, board)) == b""

    run(work)
