"""The checker: holds what clients were promised, what steps did and what the API says against each other.

It knows no table and no code of the product, only what was written down from outside.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.drill.records import (
    STEPS,
    TERMINAL,
    Answer,
    Blow,
    Cancel,
    Death,
    Deed,
    Heard,
    History,
    Leftover,
    Order,
    Sight,
    Surprise,
    Told,
)

KINDS = ("lost", "doubled", "stuck", "leaked", "wrong")
"""What may be found. `wrong` is an answer that contradicts another, or an end that nothing explains."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One promise that was not kept."""

    kind: str
    what: str
    order: int | None = None
    run_id: str | None = None


def check(history: History, *, lease: float) -> list[Finding]:
    """Everything that is wrong with this history. `lease` is how long a worker may be unheard of."""
    case = _Case(history, lease)
    found = [
        *case.promises(),
        *case.starts(),
        *case.executions(),
        *case.ends(),
        *case.failures(),
        *case.cancels(),
        *case.afterlife(),
        *case.output(),
        *case.callbacks(),
        *case.server(),
    ]
    return sorted(found, key=lambda one: (KINDS.index(one.kind), one.order or 0, one.run_id or ""))


class _Case:
    """A history, sorted by what it is about."""

    def __init__(self, history: History, lease: float) -> None:
        self._history, self._lease = history, lease
        self.orders = {one.number: one for one in history.of(Order)}
        self.answers: dict[int, list[Answer]] = defaultdict(list)
        for answer in history.of(Answer):
            self.answers[answer.order].append(answer)
        self.told = {one.run_id: one for one in history.of(Told)}
        self.deeds: dict[str, list[Deed]] = defaultdict(list)
        for deed in history.of(Deed):
            self.deeds[deed.run_id].append(deed)
        self.blows = history.of(Blow)
        self.cancelled = {one.run_id for one in history.of(Cancel)}
        self.seen: dict[str, list[Sight]] = defaultdict(list)
        for sight in history.of(Sight):
            self.seen[sight.run_id].append(sight)

    def promises(self) -> Iterator[Finding]:
        """An accepted trigger is there at the end, as what was asked for; a key is answered in the end."""
        for number, order in self.orders.items():
            answers = self.answers[number]
            for run_id in dict.fromkeys(one.run_id for one in answers if one.accepted and one.run_id):
                told = self.told.get(run_id)
                if told is None:
                    yield Finding(kind="lost", what="accepted, and not there at the end", order=number, run_id=run_id)
                elif told.order != number:
                    words = f"accepted for order {number}, and is of order {told.order} at the end"
                    yield Finding(kind="lost", what=words, order=number, run_id=run_id)
            if order.key and answers and not any(one.accepted for one in answers):
                yield Finding(kind="stuck", what=f"{len(answers)} sendings, and never an answer", order=number)

    def starts(self) -> Iterator[Finding]:
        """A key is one run; without one, each sending is one at most, and a refused one is none."""
        runs: dict[int, set[str]] = defaultdict(set)
        for told in self.told.values():
            runs[told.order].add(told.run_id)
        for run_id, deeds in self.deeds.items():
            runs[deeds[0].order].add(run_id)
        for number, answers in self.answers.items():
            runs[number] |= {one.run_id for one in answers if one.run_id}
        for number, started in runs.items():
            answers = self.answers.get(number, [])
            order = self.orders.get(number)
            granted = sum(one.accepted or _open(one) for one in answers)
            allowed = min(granted, 1) if order is not None and order.key else granted
            if len(started) > allowed:
                words = f"{len(started)} runs where {allowed} could be: {', '.join(sorted(started))}"
                yield Finding(kind="doubled", what=words, order=number)

    def executions(self) -> Iterator[Finding]:
        """A run is carried out in one process; each attempt once, each step within its policy, and none after its end."""
        for deeds in self.deeds.values():
            hit = deeds[0].run_id in self.told and self._hit(self.told[deeds[0].run_id])
            order = self.orders.get(deeds[0].order)
            begun = [one for one in deeds if one.event == "begin"]
            if len({one.pid for one in begun}) > 1:
                yield _of(deeds[0], "doubled", "carried out in more than one process")
            for (step, attempt), times in Counter((one.step, one.attempt) for one in begun).items():
                if times > 1:
                    yield _of(deeds[0], "doubled", f"attempt {attempt} of step {step} was begun {times} times")
            for step in dict.fromkeys(one.step for one in begun):
                most = max(one.attempt for one in begun if one.step == step)
                # `left` has one retry, for the failure that its order asks for, or for a result that could not be kept.
                retried = step == "left" and (hit or (order is not None and order.flaky))
                if most > 1 + retried:
                    yield _of(
                        deeds[0], "doubled", f"step {step} had {most} attempts where its policy has {1 + retried}"
                    )
                ended = [one.at for one in deeds if one.step == step and one.event == "end"]
                if ended and not (retried and hit) and any(one.at > ended[0] for one in begun if one.step == step):
                    yield _of(deeds[0], "doubled", f"step {step} was begun again after it had ended")

    def ends(self) -> Iterator[Finding]:
        """Every run ends; one that completed was carried out, and has the right result; an end is never taken back."""
        for told in self.told.values():
            if told.state not in TERMINAL:
                yield Finding(kind="stuck", what=f"still {told.state}", order=told.order, run_id=told.run_id)
            first = next((one for one in self.seen[told.run_id] if one.state in TERMINAL), None)
            if first is not None and first.state != told.state:
                words = f"was {first.state}, and is {told.state} now"
                yield Finding(kind="wrong", what=words, order=told.order, run_id=told.run_id)
            if told.state == "completed":
                yield from self._completed(told)

    def _completed(self, told: Told) -> Iterator[Finding]:
        ended = {one.step for one in self.deeds[told.run_id] if one.event == "end"}
        for step in STEPS:
            if step not in ended:
                words = f"completed, and step {step} was never carried out"
                yield Finding(kind="lost", what=words, order=told.order, run_id=told.run_id)
        if told.output != told.order * 5:
            words = f"completed with {told.output!r} instead of {told.order * 5}"
            yield Finding(kind="wrong", what=words, order=told.order, run_id=told.run_id)
        if told.steps != dict.fromkeys(STEPS, "completed"):
            words = f"completed, and its steps are {told.steps}"
            yield Finding(kind="wrong", what=words, order=told.order, run_id=told.run_id)

    def failures(self) -> Iterator[Finding]:
        """A run fails only if something hit it."""
        for told in self.told.values():
            if told.state == "failed" and not self._hit(told):
                words = f"failed, and nothing was done to it: {told.error}"
                yield Finding(kind="wrong", what=words, order=told.order, run_id=told.run_id)

    def _hit(self, told: Told) -> bool:
        began, ended = self._span(told)
        for blow in self.blows:
            if told.run_id in blow.runs:
                return True
            if blow.all_runs and began <= blow.until and blow.at <= ended:
                return True
        return False

    def _span(self, told: Told) -> tuple[float, float]:
        """When the run can have been under way, as seen from outside."""
        sent = [one.at for one in self.answers.get(told.order, [])]
        over = [one.at for one in self.seen[told.run_id] if one.state in TERMINAL]
        return min(sent, default=0.0), min(over, default=float("inf"))

    def cancels(self) -> Iterator[Finding]:
        """A cancel that was accepted is kept, and nobody else cancels."""
        for cancel in self._history.of(Cancel):
            told = self.told.get(cancel.run_id)
            if told is None:
                continue
            if cancel.status is not None and cancel.status < 300 and told.state in {"completed", "failed"}:
                words = f"a cancel was accepted, and the run {told.state}"
                yield Finding(kind="wrong", what=words, order=told.order, run_id=told.run_id)
        for told in self.told.values():
            if told.state == "cancelled" and told.run_id not in self.cancelled:
                words = "cancelled, and nobody asked for that"
                yield Finding(kind="wrong", what=words, order=told.order, run_id=told.run_id)

    def afterlife(self) -> Iterator[Finding]:
        """What has ended begins nothing more; a worker that was cut off has two leases to learn of it once it can."""
        for run_id, sights in self.seen.items():
            over = next((one.at for one in sights if one.state in TERMINAL), None)
            if over is None:
                continue
            free = max((one.until + 2 * self._lease for one in self.blows if one.all_runs), default=over)
            for deed in self.deeds[run_id]:
                if deed.event == "begin" and deed.at > max(over, free):
                    words = f"step {deed.step} was begun {deed.at - over:.1f} s after the run had ended"
                    yield _of(deed, "doubled", words)

    def output(self) -> Iterator[Finding]:
        """Each step of a completed run said one line, and it is there once."""
        for told in self.told.values():
            if told.state == "completed":
                for step in STEPS:
                    times = told.lines.count(f"order {told.order} {step}")
                    if times != 1:
                        words = f"the line of step {step} is there {times} times"
                        kind = "doubled" if times else "lost"
                        yield Finding(kind=kind, what=words, order=told.order, run_id=told.run_id)

    def callbacks(self) -> Iterator[Finding]:
        """Who asked to be told of an end was told, of that one, in one message however often it came."""
        heard: dict[str, list[Heard]] = defaultdict(list)
        for one in self._history.of(Heard):
            heard[one.run_id].append(one)
        for told in self.told.values():
            order, messages = self.orders.get(told.order), heard[told.run_id]
            if order is None or not order.callback or told.state not in TERMINAL:
                continue
            if not messages:
                yield Finding(kind="lost", what="nobody was told of its end", order=told.order, run_id=told.run_id)
            if len({one.message for one in messages}) > 1:
                words = "its end was told in more than one message"
                yield Finding(kind="doubled", what=words, order=told.order, run_id=told.run_id)
            for state in {one.state for one in messages} - {told.state}:
                words = f"it was told that it is {state}, and it is {told.state}"
                yield Finding(kind="wrong", what=words, order=told.order, run_id=told.run_id)

    def server(self) -> Iterator[Finding]:
        """A server dies only when it is killed, knows what to say, and leaves nothing behind."""
        for death in self._history.of(Death):
            if death.status is not None:
                yield Finding(kind="wrong", what=f"the server ended by itself, with status {death.status}")
        for surprise in self._history.of(Surprise):
            yield Finding(kind="wrong", what=surprise.what)
        for left in self._history.of(Leftover):
            yield Finding(kind="leaked", what=f"{left.kind}: {left.what}")


def _open(answer: Answer) -> bool:
    """Whether a run may have been started without the client being told: no answer, or one on behalf of the server."""
    return answer.status is None or answer.status in (502, 503, 504)


def _of(deed: Deed, kind: str, what: str) -> Finding:
    return Finding(kind=kind, what=what, order=deed.order, run_id=deed.run_id)
