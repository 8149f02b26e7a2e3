"""What a process does of a trial: it has the candidate answer its share, or shows it copies, and counts what comes of it."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, replace
from typing import Protocol

from starlette.types import Receive, Scope, Send

from penstock.errors import InvalidInput, RunCancelled
from penstock.model.tally import Slice, Tally, add, compacted, merged, of_one, recent, slice_at
from penstock.model.trial import SNAPSHOT, STICKY_KEY, Part, Rule, TrialOrder, chosen, verdict
from penstock.model.wire import reader
from penstock.serve import answers
from penstock.serve.candidate import Candidate, Lost, Reply, Unreached
from penstock.serve.copies import Copies, Outcome
from penstock.serve.jobs import Result
from penstock.serve.messages import left, respond
from penstock.serve.score import Score

HANDED_ON = ("traceparent", "tracestate")
"""Headers of callers that go along to the candidate. Their keys never do."""


class Host(Protocol):
    """The service in which the contest takes place."""

    @property
    def snapshot_id(self) -> str:
        """What is served."""

    @property
    def heeds_callers(self) -> bool:
        """Whether work is stopped whose caller hangs up."""

    async def own(self, scope: Scope, body: bytes, receive: Receive) -> Result:
        """Carry a request out here. Raises what refuses it."""

    def envelope(self, result: Result) -> bytes:
        """What is answered for it."""


@dataclass(frozen=True)
class Timed:
    """What is looked at of the answer of a candidate that is handed on."""

    execution_time: float = 0.0


class Contest:
    """One trial in one process. To be used on the loop."""

    def __init__(self, order: TrialOrder, host: Host) -> None:
        self.order = order
        self.stopped: str | None = None
        """Why nothing is sent to the candidate any more. That needs no server."""

        self._host = host
        self._candidate = Candidate(order)
        self._rule = order.rule or Rule()
        self._window: dict[int, Slice] = {}
        self._fresh: dict[int, Slice] = {}
        self._news = Part()
        self._copies = Copies(order, self._candidate, self._count)
        self._score = Score()

    async def close(self) -> None:
        """Do nothing more of it."""
        self._copies.close()
        await self._candidate.close()

    async def change(self, order: TrialOrder) -> None:
        """Go on with another share, or elsewhere."""
        if (order.url, order.key) != (self.order.url, self.order.key):
            await self._candidate.close()
            self._candidate = Candidate(order)
            self._copies.candidate = self._candidate
        self.order = order

    @property
    def standing(self) -> tuple[TrialOrder, Score, bool]:
        """How it stands here, for a `Scoreboard`."""
        return self.order, self._score, self.stopped is not None

    def taken(self) -> Part | None:
        """What has come of it since this was asked last; None for nothing."""
        news = replace(self._news, slices=merged(self._fresh.values()))
        self._news, self._fresh = Part(), {}
        return None if news == Part() else news

    def judge(self) -> None:
        """Stop sending to the candidate if the rule says so. Until this is called again, figures need more and more room."""
        at, window = time.time(), self._rule.window
        self._fresh = {one.at: one for one in compacted(self._fresh.values(), at, window)}
        self._window = {one.at: one for one in recent(self._window.values(), at, window)}
        if self.order.kind == "canary" and self.stopped is None:
            self.stopped = verdict(self._rule, self._window.values())

    async def invoke(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        """Answer a request. Raises what refuses it."""
        if self.order.kind == "mirror":
            await self._mirrored(scope, receive, send, body)
        else:
            await self._shared(scope, receive, send, body)

    # A mirror

    async def _mirrored(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        copied = random.random() < self.order.share  # noqa: S311  # a sample, no secret
        try:
            result = await self._host.own(scope, body, receive)
        except InvalidInput as error:
            if copied:
                self._copies.add(body, Outcome(error.status, None, b""), _handed_on(scope))
            raise
        told = self._host.envelope(result)
        await respond(send, result.status, answers.JSON, told)
        if _was_cancelled(result):
            return
        self._count_first(result)
        if copied:
            recording = result.job.recording
            outcome = Outcome(result.status, recording.id, told, recording.masked)
            self._copies.add(body, outcome, _handed_on(scope))

    # A canary

    async def _shared(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        order, refused = self.order, False
        key = _header(scope, STICKY_KEY)
        if self.stopped is None and chosen(order.trial_id, order.share, key, random.random()):  # noqa: S311  # as above
            try:
                reply = await self._asked(scope, receive, body)
            except _Gone:
                return
            if reply is not None and not 400 <= reply.status < 500:
                headers = [(b"content-type", reply.kind), (SNAPSHOT.encode(), order.snapshot_id.encode())]
                await respond(send, reply.status, headers, reply.body)
                return
            refused = reply is not None
        result = await self._host.own(scope, body, receive)
        if refused:
            self._count(Part(refused=1))
        headers = [*answers.JSON, (SNAPSHOT.encode(), self._host.snapshot_id.encode())]
        await respond(send, result.status, headers, self._host.envelope(result))
        if not _was_cancelled(result):
            self._count_first(result)

    async def _asked(self, scope: Scope, receive: Receive, body: bytes) -> Reply | None:
        """The answer of the candidate; None if it has none, and the request is to be carried out here. Raises `_Gone`."""
        asking = asyncio.ensure_future(self._candidate.ask(body, _handed_on(scope)))
        watching = asyncio.ensure_future(left(receive)) if self._host.heeds_callers else None
        try:
            await asyncio.wait(
                [asking] if watching is None else [asking, watching], return_when=asyncio.FIRST_COMPLETED
            )
            if not asking.done():
                raise _Gone
            reply = asking.result()
        except Unreached:
            self._count(Part(unreachable=1))
            return None
        except Lost:
            self._count_candidate(of_one(0.0, failed=True))
            return None
        finally:
            asking.cancel()
            if watching is not None:
                watching.cancel()
        if reply.status == 200 or reply.status >= 500:
            self._count_candidate(of_one(_seconds(reply), failed=reply.status != 200))
        return reply

    # Figures

    def _count_first(self, result: Result) -> None:
        self._add(Slice(at=self._now(), first=of_one(result.seconds, failed=result.status != 200)))

    def _count_candidate(self, tally: Tally) -> None:
        self._add(Slice(at=self._now(), candidate=tally))
        if tally.errors:
            self.judge()

    def _now(self) -> int:
        return slice_at(time.time(), self._rule.window)

    def _add(self, one: Slice) -> None:
        self._score.add(one)
        add(self._fresh, one)
        if self.order.kind == "canary":
            add(self._window, one)

    def _count(self, part: Part) -> None:
        for one in part.slices:
            self._add(one)
        self._score.note(part)
        self._news = self._news.plus(replace(part, slices=()))


class _Gone(Exception):  # nothing is wrong
    """The caller has hung up."""


def _seconds(reply: Reply) -> float:
    try:
        return reader(Timed)(reply.body).execution_time
    except (ValueError, RecursionError):  # what is no answer of ours has failed, and its time is not counted
        return 0.0


def _was_cancelled(result: Result) -> bool:
    """Whether it was stopped, which says nothing about what is served."""
    return isinstance(result.job.stopped, RunCancelled)


def _header(scope: Scope, wanted: str) -> str | None:
    name = wanted.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _handed_on(scope: Scope) -> dict[str, str]:
    found = {name: _header(scope, name) for name in HANDED_ON}
    return {name: value for name, value in found.items() if value is not None}
