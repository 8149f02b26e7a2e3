"""Copies of requests for the candidate of a mirror, behind the answers: bounded, and never in the way of anybody."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.model.likeness import Comparing, Path, Variance, counted_as, variances
from penstock.model.tally import Slice, of_one, slice_at
from penstock.model.trial import MIRROR_OF, Example, Part, Place, Rule, TrialOrder
from penstock.model.wire import reader
from penstock.serve.candidate import Candidate, Lost, Unreached

MOST_WAITING, MOST_BYTES = 200, 32 * 1024 * 1024
"""Copies that may wait, and their bytes with the answers that they are compared with. Further ones are dropped, and counted."""

AT_ONCE = 8
LARGEST_COMPARED = 2 * 1024 * 1024
"""Bytes of an answer that is looked into; of larger ones it is told only whether their outputs are the same."""

SHOWN, MOST_SHOWN = 200, 10
"""Characters of a value that stand in an example, and differences in it."""

_NO_ANSWER = 0


def _as_it_is(text: str | None) -> str | None:
    return text


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request on one side."""

    status: int
    """0: there was no answer."""

    run_id: str | None
    body: bytes
    masked: Callable[[str | None], str | None] = _as_it_is


@dataclass(frozen=True)
class Told:
    """An answer, as far as it is compared."""

    outputs: Any = None
    execution_time: float = 0.0
    metadata: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None


class Copies:
    """Those of one mirror. To be used on the loop; what is compared is compared in a thread."""

    def __init__(self, order: TrialOrder, candidate: Candidate, count: Callable[[Part], None]) -> None:
        self.candidate = candidate
        self._how = order.comparing or Comparing()
        self._window = (order.rule or Rule()).window
        self._count = count
        self._waiting: deque[tuple[bytes, Outcome, dict[str, str]]] = deque()
        self._bytes = 0
        self._working: set[asyncio.Task[None]] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="penstock-compare")

    def add(self, body: bytes, first: Outcome, headers: dict[str, str]) -> None:
        """Show the candidate a copy of this request when there is time. Returns at once."""
        size = len(body) + len(first.body)
        if len(self._waiting) >= MOST_WAITING or self._bytes + size > MOST_BYTES:
            self._count(Part(dropped=1))
            return
        self._bytes += size
        self._waiting.append((body, first, headers))
        if len(self._working) < AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    def close(self) -> None:
        """Show it nothing more."""
        self._waiting.clear()
        for task in self._working:
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while self._waiting:
            body, first, headers = self._waiting.popleft()
            self._bytes -= len(body) + len(first.body)
            await self._one(body, first, headers)

    async def _one(self, body: bytes, first: Outcome, headers: dict[str, str]) -> None:
        try:
            about = {} if first.run_id is None else {MIRROR_OF: first.run_id}
            reply = await self.candidate.ask(body, {**headers, **about})
            second = Outcome(reply.status, None, reply.body)
        except Unreached:
            self._count(Part(unreachable=1))
            return
        except Lost as error:
            second = Outcome(_NO_ANSWER, None, str(error).encode())
        loop = asyncio.get_running_loop()
        self._count(await loop.run_in_executor(self._thread, self._compared, first, second))

    def _compared(self, first: Outcome, second: Outcome) -> Part:
        at = datetime.now(UTC)
        told = _told(second)
        found = _differences(first, second, told, self._how)
        part = Part(compared=1, different=bool(found))
        if second.status == 200 or second.status >= 500 or second.status == _NO_ANSWER:
            tally = of_one(told.execution_time if told else 0.0, failed=second.status != 200)
            part = part.plus(Part(slices=(Slice(at=slice_at(at.timestamp(), self._window), candidate=tally),)))
        if not found:
            return part
        places = {counted_as(path): Place(count=1, largest=one.distance) for path, one in found}
        example = Example(
            at=at,
            run_id=first.run_id,
            candidate_run_id=(told.metadata or {}).get("run_id") if told else None,
            status=first.status,
            candidate_status=second.status,
            variances=tuple(_shown(one, first) for _, one in found[:MOST_SHOWN]),
        )
        return part.plus(Part(places=places, examples=(example,)))


def _differences(first: Outcome, second: Outcome, told: Told | None, how: Comparing) -> list[tuple[Path, Variance]]:
    """Where two answers differ: in their status, or else in their outputs, or in how they failed."""
    if first.status != second.status:
        note = second.body.decode() if second.status == _NO_ANSWER else None
        return [(("status",), Variance(pointer="/status", first=first.status, candidate=second.status, note=note))]
    before = _told(first)
    if before is None or told is None:  # of refusals only the status counts; what is answered with 200 can be read
        return [] if first.status != 200 else _outputs("no answer of a pipeline")
    if first.status != 200:
        return variances(_failure(before), _failure(told), how)
    if max(len(first.body), len(second.body)) > LARGEST_COMPARED:
        return [] if before.outputs == told.outputs else _outputs("too large to be looked into")
    return variances(before.outputs, told.outputs, how, ("outputs",))


def _outputs(note: str) -> list[tuple[Path, Variance]]:
    return [(("outputs",), Variance(pointer="/outputs", note=note))]


def _failure(told: Told) -> dict[str, Any]:
    failure = told.failure or {}
    return {"failure": {name: failure.get(name) for name in ("type", "step")}}


def _told(outcome: Outcome) -> Told | None:
    try:
        return reader(Told)(outcome.body)
    except (ValueError, RecursionError):  # a refusal, or no answer at all
        return None


def _shown(one: Variance, first: Outcome) -> Variance:
    """The difference with values that are short, and without secrets."""
    return Variance(
        pointer=one.pointer, first=_short(one.first, first), candidate=_short(one.candidate, first), note=one.note
    )


def _short(value: Any, first: Outcome) -> Any:
    text = msgspec.json.encode(value).decode()
    masked = first.masked(text) or ""
    if masked == text and len(text) <= SHOWN:
        return value
    return masked if len(masked) <= SHOWN else masked[:SHOWN] + "..."
