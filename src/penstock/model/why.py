"""Why a run is as it is: what it waits for, who holds that, since when, and what would help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from penstock.model.run import Run, RunState, StepRun, StepState

Kind = Literal["delay", "limit", "slots", "queue", "launch", "environment", "worker", "step", "upstream", "failure"]


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A run that has what another one waits for."""

    name: str
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Blocker:
    """One thing that stands between the run and its end, or that ended it."""

    kind: Kind
    detail: str
    since: datetime | None = None
    holders: tuple[Holder, ...] = ()
    """Some of those who hold it, the oldest first."""

    advice: str | None = None


@dataclass(frozen=True, kw_only=True)
class Why:
    """The answer, in one sentence and in parts; the part that matters most stands first."""

    run: str
    state: RunState
    summary: str
    blockers: tuple[Blocker, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a run and its surroundings at one moment. Of a run that has been claimed the queue says nothing."""

    run: Run
    steps: Mapping[str, StepRun] = field(default_factory=dict)
    limit: int | None = None
    """So many runs of its template, or of its value of the template's key, are carried out at once."""

    alike: tuple[Holder, ...] = ()
    """Those that are, some of them."""

    alike_active: int = 0
    ready: datetime | None = None
    """It is put off until then."""

    now: datetime | None = None
    before: int = 0
    """Waiting runs of the same kind whose turn comes before."""

    slots: int = 0
    active: int = 0
    holders: tuple[Holder, ...] = ()
    """Some of the runs that hold slots."""


def why(facts: Facts) -> Why:
    """The answer for these facts."""
    run = facts.run
    blockers = tuple(_blockers(facts))
    if run.state is RunState.COMPLETED:
        summary = "It has completed."
    elif blockers:
        summary = blockers[0].detail
    else:
        summary = {RunState.QUEUED: "It is next: it will be claimed at once."}.get(
            run.state, run.reason or f"It is {run.state}."
        )
    return Why(run=run.name, state=run.state, summary=summary, blockers=blockers)


def _blockers(facts: Facts) -> Iterator[Blocker]:
    if facts.run.state is RunState.QUEUED:
        yield from _queued(facts)
    elif facts.run.state in (RunState.FAILED, RunState.CANCELLED):
        yield from _ended(facts)
    elif not facts.run.state.terminal:
        yield from _claimed(facts)


def _queued(facts: Facts) -> Iterator[Blocker]:
    run, since = facts.run, facts.run.created
    put_off = facts.ready is not None and facts.now is not None and facts.ready > facts.now
    if put_off:
        advice = "See `rate` and `debounce` in the template's terms."
        yield Blocker(kind="delay", detail=str(run.reason), since=since, advice=advice)
    if facts.limit is not None and facts.alike_active >= facts.limit:
        yield Blocker(
            kind="limit",
            detail=f"'{run.template_name}' takes {facts.limit} at once, and {facts.alike_active} go on.",
            since=since,
            holders=facts.alike,
            advice="Wait for one of them, cancel one, or raise `limits.concurrency` in the template's terms.",
        )
    if facts.active >= facts.slots:
        yield Blocker(
            kind="slots",
            detail=f"All {facts.slots} slots are taken.",
            since=since,
            holders=facts.holders,
            advice="Wait for one of them, cancel one, or start the server with more: PENSTOCK_PARALLEL_RUNS.",
        )
    if facts.before:
        yield Blocker(
            kind="queue",
            detail=f"{facts.before} of the same kind {'has its' if facts.before == 1 else 'have their'} turn before it.",
            since=since,
            advice="A higher `priority` overtakes those that have not waited for long.",
        )
    if run.reason and facts.ready is None:
        yield Blocker(kind="launch", detail=run.reason, since=since, advice="It is tried again.")


def _claimed(facts: Facts) -> Iterator[Blocker]:
    run = facts.run
    if run.state is RunState.STARTING and run.reason:
        advice = "It is built once, and kept: `penstock environment list`. Cancel the run if it takes too long."
        yield Blocker(kind="environment", detail=run.reason, since=run.created, advice=advice)
    if run.state in (RunState.STARTING, RunState.CANCELLING):
        told = "is preparing its process" if run.state is RunState.STARTING else "is ending its process"
        detail = f"{run.lease_owner} {told}; if it is not heard of again, that is noticed at {run.lease_expires:%H:%M:%S} UTC."
        yield Blocker(kind="worker", detail=detail, since=run.started or run.created)
    going_on = [one for one in facts.steps.values() if one.state in (StepState.RUNNING, StepState.RETRYING)]
    for one in going_on:
        again = f", attempt {one.attempt}" if one.attempt > 1 else ""
        yield Blocker(kind="step", detail=f"Step {one.step} is {one.state}{again}.", since=one.started)
    for one in facts.steps.values():
        left = [name for name in one.upstream if name in facts.steps and not facts.steps[name].state.terminal]
        if one.state is StepState.QUEUED and left:
            yield Blocker(kind="upstream", detail=f"Step {one.step} waits for {', '.join(left)}.", since=one.created)


def _ended(facts: Facts) -> Iterator[Blocker]:
    run = facts.run
    if run.error is not None:
        where = f"Step {run.error.step} failed: " if run.error.step else ""
        detail = f"{where}{run.error.type}: {run.error.message}"
        advice = "`penstock run replay --from-failure` carries out what did not end well." if facts.steps else None
        yield Blocker(kind="failure", detail=detail, since=run.ended, advice=advice)
    elif run.reason:
        yield Blocker(kind="failure", detail=run.reason, since=run.ended)
