"""Runs. `start` is the one door: every trigger, whatever pulls it, ends in that call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from penstock.control import callbacks, chains, flow, idempotency, plans, snapshots
from penstock.control.bell import QUEUE, SLOT
from penstock.control.installation import Installation, now
from penstock.control.stacks import shared_secrets
from penstock.control.targets import Target, prepare
from penstock.errors import Conflict, found
from penstock.ids import check_name, new_id
from penstock.model.account import Principal
from penstock.model.artifact import Use
from penstock.model.configuration import PipelineRunConfiguration, besides_values, filled_in, laid_over
from penstock.model.launch import Ticket
from penstock.model.run import Cause, Progress, Run, RunState, advance, end
from penstock.model.snapshot import Snapshot
from penstock.model.stack import Stack
from penstock.store import artifacts, events, runs, stacks
from penstock.store.session import ReadSession, WriteSession

TOKEN_LIFETIME = 30 * 24 * 3600.0
"""Seconds for which a run's token is valid at most; it is refused as soon as the run has ended."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to start. With `claim` the caller carries the run out itself."""

    once: idempotency.Once | None = None
    claim: bool = False
    plan: str | None = None
    """The token of a plan: unless everything is still as it was planned, nothing is started."""

    within: frozenset[str] | None = None
    """The templates that there are for the caller; None for all, and for targets besides templates."""

    callback: str | None = None
    """Who is told of the run's end, whoever started it: an address that `callbacks.accepted` has let pass."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """The answer of the door. `replayed`: the run was started by an earlier request with the same key."""

    run: Run
    replayed: bool = False
    cancelled: tuple[Run, ...] = ()
    """Runs that had to make room for this one."""


def start(
    ws: WriteSession,
    installation: Installation,
    target: Target,
    configuration: PipelineRunConfiguration,
    options: Options,
    cause: Cause,
) -> Started:
    """Check everything, write the run, and have it carried out once the transaction is committed.

    Raises `NotFound` for an unknown target, `InvalidInput` with every mistake in the input, `KeyReused` for an
    idempotency key of another request, `PlanChanged`, `TooManyRequests` or `AlreadyRunning` for a limit of the template, and `Conflict` for a
    chain of runs that goes round; then nothing was written.
    """
    started = _started(ws, installation, target, configuration, options, cause)
    if options.callback is not None:
        callbacks.register(ws, installation, started.run, options.callback)
    return started


def _started(
    ws: WriteSession,
    installation: Installation,
    target: Target,
    configuration: PipelineRunConfiguration,
    options: Options,
    cause: Cause,
) -> Started:
    at, met = now(), idempotency.Met()
    if options.once is not None:
        cancelling = partial(cancel_with_children, ws, installation)
        met = idempotency.meet(ws, options.once, cause, at, cancelling)
        if met.run is not None:
            return Started(run=met.run, replayed=True)
    prepared = prepare(ws, target, configuration, here=options.claim, within=options.within)
    if options.plan is not None:
        plans.check(ws, prepared, options.plan)
    effective, said = prepared.effective, prepared.effective.configuration
    identity = new_id()
    run = replace(
        prepared.origin,
        id=identity,
        name=_name(said, prepared.snapshot, identity, at),
        parameters=effective.parameters,
        step_parameters=effective.step_parameters,
        origins=effective.origins,
        configuration=besides_values(said),
        cause=cause,
        tags=tuple(check_name(tag, what="tag", at="/tags") for tag in said.tags),
        created=at,
    )
    if options.claim:
        run = replace(
            advance(run, RunState.STARTING, at),
            fence=1,
            lease_owner=f"direct:{identity}",
            lease_expires=at + timedelta(seconds=_direct_lease(installation)),
        )
    chains.check(ws, run)
    joined = flow.single(ws, run, prepared.terms)
    if joined is not None:
        if options.once is not None:
            idempotency.keep(ws, options.once, cause, joined, installation.settings.idempotency_ttl)
        return Started(run=joined, replayed=True)
    place, outdone = flow.admitted(ws, run, prepared.terms)
    cancelled = list(met.cancelled)
    if outdone is not None:
        cancelled.append(cancel(ws, installation, outdone, reason=f"Run {run.name} came after it, and took its place."))
    if place.ready is not None:
        run = replace(run, reason=f"It is put off until {place.ready:%Y-%m-%d %H:%M:%S} UTC.")
    runs.insert(ws, run, place)
    artifacts.note_uses(
        ws,
        [
            Use(artifact_id=one.id, run_id=run.id, step="", kind="parameter", name=name)
            for name, one in prepared.artifacts.items()
        ],
    )
    if options.once is not None:
        idempotency.keep(ws, options.once, cause, run, installation.settings.idempotency_ttl)
    _note(ws, installation, run, new=True)
    ws.after_commit(lambda: installation.metrics.started(run))
    return Started(run=run, cancelled=tuple(cancelled))


def _name(said: PipelineRunConfiguration, snapshot: Snapshot, identity: str, at: datetime) -> str:
    """The name that was asked for, with `{date}`, `{time}` and substitutions put in; else one that is its own."""
    if said.run_name is None:
        return f"{snapshot.content.pipeline}-{at:%m%d-%H%M%S}-{identity[-8:]}"
    return check_name(filled_in(said.run_name, said.substitutions, at, where="/run_name"), what="run", at="/run_name")


def cancel(
    ws: WriteSession, installation: Installation, reference: str, *, reason: str = "Cancelled on request."
) -> Run:
    """Cancel a run: a queued one at once, one that is carried out as soon as its process is gone.

    Cancelling it again changes nothing. Raises `Conflict` if it ended otherwise.
    """
    run = runs.get(ws, reference)
    if run.state in (RunState.CANCELLING, RunState.CANCELLED):
        return run
    if run.state.terminal:
        raise Conflict(f"Run {run.name} has ended already: it {run.state}.")
    at = now()
    if run.state is RunState.QUEUED:
        run = end(Progress(run, {}), RunState.CANCELLED, at, reason=reason).run
    else:
        run = advance(run, RunState.CANCELLING, at, reason=reason)
    runs.save(ws, run)
    _note(ws, installation, run)
    return run


def cancel_with_children(ws: WriteSession, installation: Installation, reference: str) -> list[Run]:
    """Cancel a run and all that its steps have started, however far down; those that were changed, the run itself first.

    Children that have ended stay as they are, and are looked under. Raises like `cancel`.
    """
    cancelled = [cancel(ws, installation, reference)]
    look = [cancelled[0].id]
    seen = set(look)
    while look:
        for child in runs.children(ws, look.pop()):
            if child.id in seen:
                continue
            seen.add(child.id)
            look.append(child.id)
            if not child.state.terminal:
                cancelled.append(cancel(ws, installation, child.id))
    return cancelled


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What is to be noted on a run or on one of its steps. Metadata under a known name replaces what was there."""

    metadata: dict[str, Any]
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()
    step: str | None = None
    """The invocation id of a step, whose metadata it is then."""


def annotate(ws: WriteSession, installation: Installation, reference: str, notes: Notes) -> Run:
    """Note something on a run, whether it has ended or not."""
    run = runs.get(ws, reference)
    added = [check_name(tag, what="tag", at="/add_tags") for tag in notes.add_tags]
    tags = [tag for tag in (*run.tags, *added) if tag not in notes.remove_tags]
    metadata = {**run.metadata, **notes.metadata}
    if notes.step is not None:
        steps = runs.steps(ws, run.id, named={notes.step})
        step = found(steps.get(notes.step), f"step of run {run.name}", notes.step)
        runs.save_steps(ws, [replace(step, metadata={**step.metadata, **notes.metadata})])
        metadata = run.metadata
    run = replace(run, metadata=metadata, tags=tuple(dict.fromkeys(tags)))
    runs.annotate(ws, run)
    ws.after_commit(lambda: installation.bell.ring(run.id))
    return run


def delete(ws: WriteSession, reference: str) -> Run:
    """Remove an ended run with its steps, logs and history. Artifacts that it made stay until they are pruned.

    Raises `Conflict` for a run that has not ended.
    """
    run = runs.get(ws, reference)
    if not run.state.terminal:
        raise Conflict(f"Run {run.name} is {run.state}: cancel it first, or wait for its end.")
    runs.remove(ws, run.id)
    return run


def ticket(installation: Installation, run: Run, snapshot: Snapshot, stack: Stack) -> Ticket:
    """What the worker that holds `run` needs to carry it out."""
    settings = installation.settings
    return Ticket(
        run_id=run.id,
        run_name=run.name,
        fence=run.fence,
        pipeline=run.pipeline_name,
        source=snapshot.content.source,
        code=snapshot.content.code,
        parameters=run.parameters,
        step_parameters=run.step_parameters,
        configuration=run.configuration,
        timeout=laid_over(snapshot.content.configuration, run.configuration).timeout,
        pipeline_id=run.pipeline_id,
        tags=run.tags,
        resumes=run.cause.replay_of if run.cause.again is not None else None,
        again=run.cause.again or (),
        artifact_store=stack.components["artifact_store"],
        secret_store=stack.components.get("secret_store") or shared_secrets(installation),
        server=installation.address,
        token=installation.signer.sign("run", run.id, lifetime=TOKEN_LIFETIME, fence=run.fence),
        home=str(settings.home),
        preload=snapshot.content.environment.preload,
        executable=snapshot.content.environment.executable,
        requires=snapshot.content.environment.requires,
        lease=_direct_lease(installation) if held_by_caller(run) else settings.lease,
        grace=settings.grace,
        parallel_steps=settings.steps_at_once,
        traceparent=run.cause.traceparent,
    )


def direct_ticket(rs: ReadSession, installation: Installation, run: Run) -> Ticket:
    """The ticket of a run that its caller has claimed."""
    snapshot = snapshots.get(rs, run.snapshot_id)
    return ticket(installation, run, snapshot, stacks.get(rs, snapshot.content.stack))


def held_by_caller(run: Run) -> bool:
    """Whether the run is carried out in the process of the person who called it, with no supervisor over it."""
    return (run.lease_owner or "").startswith("direct:")


def _direct_lease(installation: Installation) -> float:
    """A caller's own process may hold the interpreter for long and has no supervisor: its lease is longer."""
    return 3 * installation.settings.lease


def _note(ws: WriteSession, installation: Installation, run: Run, *, new: bool = False) -> None:
    """Write the state into the run's history, and wake those who wait for it once it is committed."""
    entry = events.Entry(at=now(), type=f"run_{run.state}", data={"reason": run.reason})
    events.append(ws, run.id, [entry], new=new)
    topics = (run.id, QUEUE) if new else (run.id, QUEUE, SLOT)
    ws.after_commit(lambda: installation.bell.ring(*topics))
    if run.state.terminal:
        ws.after_commit(lambda: installation.changed(run))


def cause_of(principal: Principal, *, direct: bool, parent_run_id: str | None, parent_step: str | None) -> Cause:
    """Who and what pulled the gate, for a request over HTTP."""
    return Cause(
        kind="step" if parent_run_id else "direct" if direct else "api",
        account_id=principal.account_id,
        account=principal.name,
        key_id=principal.key_id,
        parent_run_id=parent_run_id,
        parent_step=parent_step,
    )
