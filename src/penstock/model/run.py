"""A run and its step runs, and the one state machine that moves them.

    queued ──> starting ──> running ──> completed | failed
      │          │  ↺          │
      │          └──────┬──────┘
      └─────────────────┴──> cancelling ──> cancelled

`starting` means claimed by a worker that has not begun: user code has certainly not run, so a lost claim goes back to
`queued`. A lost claim in `running` is a failure: the code may have done half of its work. Terminal states absorb.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, TypeVar

from penstock.errors import Conflict
from penstock.model.artifact import Artifact
from penstock.model.cache import CacheNote
from penstock.model.configuration import PipelineRunConfiguration


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    RETRYING = "retrying"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the run has ended; nothing changes it any more."""
        return self in TERMINAL


class StepState(StrEnum):
    """Where one invocation of a step stands."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the step has ended."""
        return self not in (StepState.QUEUED, StepState.RUNNING, StepState.RETRYING)


TERMINAL = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED})
CLAIMED = frozenset({RunState.STARTING, RunState.RUNNING, RunState.RETRYING, RunState.CANCELLING})
"""States in which somebody holds a lease on the run."""

TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.STARTING, RunState.CANCELLED}),
    RunState.STARTING: frozenset({RunState.RUNNING, RunState.QUEUED, RunState.CANCELLING, RunState.FAILED}),
    RunState.RUNNING: frozenset({RunState.RETRYING, RunState.CANCELLING, RunState.COMPLETED, RunState.FAILED}),
    RunState.RETRYING: frozenset({RunState.RUNNING, RunState.CANCELLING, RunState.FAILED}),
    RunState.CANCELLING: frozenset({RunState.CANCELLED}),
    RunState.COMPLETED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why something failed. `traceback` shows the user's frames only."""

    type: str
    message: str
    traceback: str | None = None
    step: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What pulled the gate. It is data: every kind goes through the same door."""

    kind: Literal["api", "direct", "step", "replay", "deployment"] = "api"
    account_id: str | None = None
    account: str = "owner"
    key_id: str | None = None
    parent_run_id: str | None = None
    parent_step: str | None = None
    deployment: str | None = None
    """Of a request to a deployment: its name."""

    deployment_id: str | None = None
    mirror_of: str | None = None
    """Of a copy of a request, made for a trial: the run of that request."""

    replay_of: str | None = None
    """Of a replay: the id of the run that it is like."""

    again: tuple[str, ...] | None = None
    """Of a replay that takes over results: the steps that are carried out again. None: it takes over nothing."""

    traceparent: str | None = None
    """The trace of whoever pulled it (W3C trace context)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a snapshot."""

    id: str
    name: str
    state: RunState
    reason: str | None = None
    """Why it is in this state, where that is not plain."""

    pipeline_id: str
    pipeline_name: str
    snapshot_id: str
    template_id: str | None = None
    template_name: str | None = None
    template_version: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    """The effective value of every pipeline parameter."""

    step_parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Values that replace single arguments: invocation id -> argument -> value."""

    origins: dict[str, str] = field(default_factory=dict)
    """JSON pointer of a value -> where it came from (`default`, `snapshot`, `request`)."""

    configuration: PipelineRunConfiguration = field(default_factory=PipelineRunConfiguration)
    """What was said of this run besides its values, its name and its tags; the snapshot's word included."""

    metadata: dict[str, Any] = field(default_factory=dict)
    """What its code noted of it."""

    cause: Cause = field(default_factory=Cause)
    tags: tuple[str, ...] = ()
    outputs: dict[str, Any] | None = None
    """What the pipeline function returned, by name: JSON values as they are, others as `{"artifact": id, "type": ...}`."""

    error: Failure | None = None
    fence: int = 0
    """Number of the latest claim. A report under an older one is refused."""

    sequence: int = 0
    """Number of the last journal event folded under this fence."""

    lease_owner: str | None = None
    lease_expires: datetime | None = None
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def deployment_id(self) -> str:
        """The snapshot, under the name that it has in documents of others."""
        return self.snapshot_id


@dataclass(frozen=True, kw_only=True)
class StepRun:
    """One invocation of a step inside a run. `step` is the invocation id, `name` the step's own name."""

    id: str
    run_id: str
    step: str
    name: str
    state: StepState = StepState.QUEUED
    attempt: int = 1
    """Number of the latest try; the first has 1."""

    reason: str | None = None
    upstream: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    """Argument -> artifact id, for arguments that are artifacts."""

    outputs: dict[str, str] = field(default_factory=dict)
    """Output name -> artifact id."""

    error: Failure | None = None
    cache: CacheNote | None = None
    """Whether earlier results were looked for, and what came of it. None: nobody asked for that."""

    metadata: dict[str, Any] = field(default_factory=dict)
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of output. `step` is None for output of the run outside of any step (or of several at once)."""

    at: datetime
    stream: Literal["stdout", "stderr"]
    text: str
    step: str | None = None


EventType = Literal[
    "run_started",
    "step_declared",
    "step_started",
    "step_retrying",
    "step_cached",
    "artifact",
    "used",
    "item",
    "metadata",
    "step_completed",
    "step_failed",
    "step_skipped",
    "step_cancelled",
    "log",
    "run_completed",
    "run_failed",
]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One entry of a run's journal, as the worker reports it. Which fields carry something depends on `type`.

    `step_declared`: id, step, name, upstream. `step_started`: step, parameters, inputs, attempt, cache (a miss).
    `step_retrying`: step, error, attempt (the one that failed), delay. `step_cached`: step, parameters, inputs, outputs,
    cache (a hit). `artifact`: step, output, artifact. `used`: step, inputs (loaded by its code). `item`: step, output, values (`index`, and `value` if it is small
    JSON), of a step that yields. `metadata`: metadata to be noted on the step, or on the run if there is none; tags for the
    run. `step_completed`: step, outputs. `step_failed`, `run_failed`: error. `step_skipped`: reason. `log`: lines.
    `run_started`: metadata (pid, host). `run_completed`: values.
    """

    seq: int
    at: datetime
    type: EventType
    step: str | None = None
    id: str | None = None
    name: str | None = None
    upstream: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    output: str | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    artifact: Artifact | None = None
    error: Failure | None = None
    reason: str | None = None
    attempt: int = 1
    delay: float | None = None
    cache: CacheNote | None = None
    tags: tuple[str, ...] = ()
    lines: tuple[LogLine, ...] = ()
    values: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one report of a worker carries: consecutive events under one fence."""

    fence: int
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The answer to a batch: how far the journal is folded, and whether the worker should stop."""

    state: RunState
    sequence: int
    stop: bool = False


T = TypeVar("T", Run, StepRun)


def _changed(record: T, **changes: Any) -> T:
    """A copy with other values of these fields. `dataclasses.replace` sets all forty of them through `__init__`, with each event."""
    twin = object.__new__(type(record))
    twin.__dict__.update(record.__dict__, **changes)
    return twin


def advance(run: Run, to: RunState, at: datetime, *, reason: str | None = None) -> Run:
    """`run` in state `to`. Raises `Conflict` if that is no step of the state machine.

    `started` is set when it first runs, `ended` when it ends; the lease is dropped where nobody holds one any more.
    """
    if to not in TRANSITIONS[run.state]:
        raise Conflict(f"Run {run.name} is {run.state}: it cannot become {to}.")
    changes: dict[str, Any] = {"state": to, "reason": reason}
    if to is RunState.RUNNING and run.started is None:
        changes["started"] = at
    if to in TERMINAL:
        changes["ended"] = max(at, run.started or at)
    if to not in CLAIMED:
        changes |= {"lease_owner": None, "lease_expires": None}
    return _changed(run, **changes)


@dataclass(frozen=True)
class Progress:
    """A run with its step runs by invocation id: what a journal folds into."""

    run: Run
    steps: Mapping[str, StepRun]

    def with_step(self, step: StepRun) -> Progress:
        """A copy with this step run put in."""
        return Progress(self.run, {**self.steps, step.step: step})


def fold(progress: Progress, event: Event) -> Progress:
    """The progress after `event`. Pure; applying an event twice, or one older than the last, changes nothing.

    Raises `Conflict` for an event that the state machine does not know here (for example after the end).
    """
    run = progress.run
    if event.seq <= run.sequence:
        return progress
    if event.seq != run.sequence + 1:
        raise Conflict(f"Event {event.seq} follows {run.sequence}: events are missing between them.")
    if run.state in TERMINAL:
        raise Conflict(f"Run {run.name} has ended ({run.state}).")
    progress = Progress(_changed(run, sequence=event.seq), progress.steps)
    if event.type.startswith("run_"):
        return _fold_run(progress, event)
    if event.type == "metadata" and event.step is None:
        tags = tuple(dict.fromkeys((*run.tags, *event.tags)))
        noted = _changed(progress.run, metadata={**run.metadata, **event.metadata}, tags=tags)
        return Progress(noted, progress.steps)
    if event.step is not None and event.type != "log":
        return _fold_step(progress, event)
    return progress


def _fold_run(progress: Progress, event: Event) -> Progress:
    run = progress.run
    if event.type == "run_started":
        return Progress(advance(run, RunState.RUNNING, event.at), progress.steps)
    if run.state is RunState.CANCELLING:
        # The work ended while it was being stopped: the wish to cancel was first, and is answered.
        return end(progress, RunState.CANCELLED, event.at, reason=run.reason)
    if event.type == "run_completed":
        finished = _changed(run, outputs=event.values)
        return end(Progress(finished, progress.steps), RunState.COMPLETED, event.at)
    failed = _changed(run, error=event.error)
    reason = event.reason or (event.error.message or event.error.type if event.error else None)
    return end(Progress(failed, progress.steps), RunState.FAILED, event.at, reason=reason)


def _fold_step(progress: Progress, event: Event) -> Progress:
    assert event.step is not None
    known = progress.steps.get(event.step)
    if event.type == "step_declared":
        if known is not None:
            return progress
        step = StepRun(
            id=event.id or "",
            run_id=progress.run.id,
            step=event.step,
            name=event.name or event.step,
            upstream=event.upstream,
            created=event.at,
        )
        return progress.with_step(step)
    if known is None:
        raise Conflict(f"Step {event.step} was never declared.")
    if known.state.terminal:
        raise Conflict(f"Step {event.step} has ended ({known.state}).")
    return progress.with_step(_step_after(known, event))


def _step_after(step: StepRun, event: Event) -> StepRun:
    match event.type:
        case "step_started":
            return _changed(
                step,
                state=StepState.RUNNING,
                started=step.started or event.at,
                parameters=event.parameters,
                inputs=event.inputs,
                attempt=event.attempt,
                cache=event.cache or step.cache,
            )
        case "step_retrying":
            told = event.error.message or event.error.type if event.error else ""
            wait = f", again in {event.delay:.3g} s" if event.delay else ""
            return _changed(step, state=StepState.RETRYING, reason=f"Attempt {event.attempt} failed{wait}: {told}")
        case "step_cached":
            return _changed(
                step,
                state=StepState.CACHED,
                started=event.at,
                ended=event.at,
                parameters=event.parameters,
                inputs=event.inputs,
                outputs=event.outputs,
                cache=event.cache,
                reason=event.cache.reason if event.cache else None,
            )
        case "metadata":
            return _changed(step, metadata={**step.metadata, **event.metadata})
        case "artifact" | "used" | "item":
            return step
        case "step_completed":
            return _changed(step, state=StepState.COMPLETED, ended=event.at, outputs=event.outputs, reason=None)
        case "step_failed":
            return _changed(step, state=StepState.FAILED, ended=event.at, error=event.error, reason=None)
        case "step_cancelled":
            return _changed(step, state=StepState.CANCELLED, ended=event.at, reason=event.reason)
        case "step_skipped":
            return _changed(step, state=StepState.SKIPPED, ended=event.at, reason=event.reason)
        case _:
            raise Conflict(f"A step has no event of type {event.type}.")


_ORPHANED = {
    RunState.COMPLETED: (StepState.SKIPPED, StepState.SKIPPED),
    RunState.FAILED: (StepState.FAILED, StepState.SKIPPED),
    RunState.CANCELLED: (StepState.CANCELLED, StepState.CANCELLED),
}


def end(progress: Progress, to: RunState, at: datetime, *, reason: str | None = None) -> Progress:
    """The run ended in `to`, and with it every step that had not ended itself: none stays `running` for ever."""
    run = advance(progress.run, to, at, reason=reason)
    begun, waiting = _ORPHANED[to]
    steps = {
        key: step
        if step.state.terminal
        else _changed(
            step,
            state=waiting if step.state is StepState.QUEUED else begun,
            ended=at,
            reason=f"The run was {to}." if to is RunState.CANCELLED else f"The run {to}.",
        )
        for key, step in progress.steps.items()
    }
    return Progress(run, steps)
