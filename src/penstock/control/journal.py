"""Reports from where runs are carried out, folded into their state through the one state machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from penstock.control.bell import QUEUE, SLOT
from penstock.control.installation import Installation, now
from penstock.control.runs import held_by_caller
from penstock.errors import Conflict, NotFound, PenstockError, StaleFence
from penstock.model.artifact import Use, check_files
from penstock.model.launch import Exit, Held, Orders, Report
from penstock.model.run import (
    Batch,
    Event,
    Failure,
    LogLine,
    Progress,
    Receipt,
    Run,
    RunState,
    StepRun,
    StepState,
    advance,
    end,
    fold,
)
from penstock.store import artifacts, events, limits, logs, runs, tags
from penstock.store.session import WriteSession

log = logging.getLogger("penstock.journal")

ABSENCE = timedelta(seconds=60)
"""So long a server that was told to stop may be away before other servers take what goes on in its home for lost."""

STARTS = 5
"""How often a run is claimed before it is given up, if it never gets as far as user code."""


def report(ws: WriteSession, installation: Installation, run_id: str, batch: Batch) -> Receipt:
    """Fold a worker's batch into the run. A batch that arrives twice changes nothing the second time.

    Raises `StaleFence` if the claim under which it was written is not the run's latest, or if the run has ended, and
    `InvalidInput` for an artifact whose files cannot be kept.
    """
    run = runs.get(ws, run_id)
    if batch.fence != run.fence:
        raise StaleFence(f"Run {run.name} was claimed again (fence {run.fence}, this report has {batch.fence}).")
    news = [event for event in batch.events if event.seq > run.sequence]
    if run.state.terminal:
        if news or not batch.events:
            raise StaleFence(f"Run {run.name} has ended: it was {run.state}.")
        return Receipt(state=run.state, sequence=run.sequence)
    for event in news:
        if event.artifact is not None:
            check_files(event.artifact.files)
    before = Progress(run, _concerned(ws, run, news))
    after = before
    try:
        for event in news:
            after = fold(after, event)
    except Conflict as error:
        raise StaleFence(error.detail) from error
    _keep(ws, installation, before, _renewed(after, installation), news)
    return Receipt(state=after.run.state, sequence=after.run.sequence, stop=after.run.state is RunState.CANCELLING)


def supervise(ws: WriteSession, installation: Installation, report: Report) -> Orders:
    """Take in a supervisor's heartbeat: renew what it holds, end what has exited, answer with what it should stop."""
    for exit in sorted(report.exits, key=lambda one: one.run_id):  # as `runs.renew` holds them
        _exited(ws, installation, exit)
    expires = now() + timedelta(seconds=installation.settings.lease)
    held = [(one.run_id, one.fence) for one in report.held]
    renewed = runs.renew(ws, report.owner, held, expires)
    for one in report.held:
        if one.doing is not None:
            _noted(ws, installation, one)
    orders: dict[str, Literal["cancelled", "stale"]] = {run_id: "stale" for run_id, _ in held if run_id not in renewed}
    orders |= {run_id: "cancelled" for run_id, state in renewed.items() if state is RunState.CANCELLING}
    return Orders(stop=orders)


def _noted(ws: WriteSession, installation: Installation, held: Held) -> None:
    """What has to be done before a run can start, as the reason for which it has not; told once."""
    run = runs.get(ws, held.run_id)
    if run.fence != held.fence or run.state is not RunState.STARTING or run.reason == held.doing:
        return
    runs.save(ws, replace(run, reason=held.doing))
    at = now()
    line = LogLine(at=at, stream="stderr", text=f"penstock: {held.doing}")
    logs.append(ws, run.id, [line])
    events.append(ws, run.id, [events.Entry(at=at, type="run_starting", data={"reason": held.doing})])
    ws.after_commit(lambda: installation.bell.ring(run.id))


def hold_on(installation: Installation) -> None:
    """This server leaves in good order: other servers are not to take for lost what goes on in its home until it is back."""
    if installation.db.one_writer:
        return  # there is none who could
    try:
        with installation.db.write() as session:
            limits.hold_on(session, installation.place, now() + ABSENCE)
    except PenstockError as error:  # the store is away: then nobody takes anything for lost
        log.warning("leases could not be made to hold on: %s", error.detail)


def requeue(ws: WriteSession, installation: Installation, run: Run, why: str) -> Run:
    """The launcher could do nothing for `run`, which is not the run's fault: it waits for better times."""
    if run.state is RunState.CANCELLING:
        return give_up_claim(ws, installation, run, why)
    progress = Progress(advance(run, RunState.QUEUED, now(), reason=why), {})
    _keep(ws, installation, Progress(run, {}), progress, [])
    return progress.run


def give_up_claim(ws: WriteSession, installation: Installation, run: Run, why: str) -> Run:
    """The claim on `run` was lost before user code began: back to the queue, or failed after too many tries."""
    at = now()
    if run.state is RunState.CANCELLING:
        progress = end(Progress(run, {}), RunState.CANCELLED, at, reason=run.reason)
    elif run.fence < STARTS and not held_by_caller(run):
        progress = Progress(advance(run, RunState.QUEUED, at, reason=why), {})
    else:
        error = Failure(type="NotStarted", message=f"The run was not started, in {run.fence} tries: {why}")
        progress = end(Progress(replace(run, error=error), {}), RunState.FAILED, at, reason=error.message)
    _keep(ws, installation, Progress(run, {}), progress, [])
    return progress.run


def lose(ws: WriteSession, installation: Installation, run: Run, why: Failure) -> Run:
    """The process that carried out `run` is gone: end the run with the reason, or cancelled if that was asked for."""
    if run.state is RunState.STARTING:
        return give_up_claim(ws, installation, run, why.message)
    before = Progress(run, runs.steps(ws, run.id, named=(), unended=True))
    if run.state is RunState.CANCELLING:
        after = end(before, RunState.CANCELLED, now(), reason=run.reason)
    else:
        step = next((one.step for one in before.steps.values() if one.state == "running"), None)
        failed = replace(run, error=replace(why, step=step))
        after = end(Progress(failed, before.steps), RunState.FAILED, now(), reason=why.message)
    _keep(ws, installation, before, after, [])
    return after.run


def _exited(ws: WriteSession, installation: Installation, exit: Exit) -> None:
    try:
        run = runs.get(ws, exit.run_id)
    except NotFound:
        return
    if run.state.terminal or run.fence != exit.fence:
        return  # the run had reported its end itself, or belongs to somebody else by now
    if exit.last_words:
        run = _hear(ws, installation, run, exit)
    if run.state.terminal:
        return
    if exit.launched:
        died = Failure(type="ProcessDied", message=f"The process of the run {exit.failure}.", traceback=exit.crash)
        lose(ws, installation, run, died)
    else:
        give_up_claim(ws, installation, run, exit.failure)


def _hear(ws: WriteSession, installation: Installation, run: Run, exit: Exit) -> Run:
    """Fold what a dead process could not report itself; what does not fit is passed over, its end is told anyway."""
    try:
        report(ws, installation, run.id, Batch(fence=exit.fence, events=exit.last_words))
    except StaleFence:
        return run
    return runs.get(ws, run.id)


def _concerned(ws: WriteSession, run: Run, news: list[Event]) -> dict[str, StepRun]:
    """The steps that these events change: a run may have thousands, and a batch costs what is in it."""
    named = {event.step for event in news if event.step is not None and event.type != "log"}
    ends = any(event.type in ("run_completed", "run_failed") for event in news)
    return runs.steps(ws, run.id, named=named, unended=ends) if named or ends else {}


def _renewed(progress: Progress, installation: Installation) -> Progress:
    """A report is a sign of life: the lease counts from now."""
    run = progress.run
    if run.lease_owner is None:
        return progress
    seconds = installation.settings.lease * (3 if held_by_caller(run) else 1)
    expires = max(now() + timedelta(seconds=seconds), run.lease_expires or run.created)
    return Progress(replace(run, lease_expires=expires), progress.steps)


def _keep(ws: WriteSession, installation: Installation, before: Progress, after: Progress, news: list[Event]) -> None:
    """Write what changed, the new artifacts and log lines, and the history; wake those who wait once it is committed."""
    if not runs.save(ws, after.run):
        raise StaleFence(f"Run {before.run.name} was claimed again.")
    if after.run.tags != before.run.tags:
        tags.replace(ws, after.run)
    changed = [step for key, step in after.steps.items() if before.steps.get(key) is not step]
    runs.save_steps(ws, changed)
    # What was carried out, not what was taken from the cache: results grow old from when they were made.
    made_well = [step for step in changed if step.state is StepState.COMPLETED]
    runs.remember(ws, after.run.pipeline_id, made_well)
    made = [(event.artifact, event) for event in news if event.artifact is not None]
    artifacts.insert(
        ws, [replace(one, run_id=after.run.id, step=event.step, output=event.output) for one, event in made]
    )
    artifacts.note_uses(ws, [use for event in news for use in _uses(after.run.id, event)])
    logs.append(ws, after.run.id, [line for event in news for line in event.lines])
    events.append(ws, after.run.id, [*_told(news), *_history(before, after, changed)])
    topics = [after.run.id] + ([QUEUE, SLOT] if after.run.lease_owner is None else [])
    ws.after_commit(lambda: installation.bell.ring(*topics))
    if after.run.state is not before.run.state:
        ws.after_commit(lambda: installation.changed(after.run))


def _uses(run_id: str, event: Event) -> Iterator[Use]:
    """Where artifacts stand, as far as an event says it."""
    step = event.step or ""
    if event.artifact is not None:
        yield Use(artifact_id=event.artifact.id, run_id=run_id, step=step, kind="output", name=event.output or "")
    if event.type == "step_cached":
        for name, artifact_id in event.outputs.items():
            yield Use(artifact_id=artifact_id, run_id=run_id, step=step, kind="output", name=name)
    for name, artifact_id in event.inputs.items():
        yield Use(artifact_id=artifact_id, run_id=run_id, step=step, kind="input", name=name)


def _told(news: list[Event]) -> list[events.Entry]:
    """What the states of steps do not say: each failed attempt, and the items of steps that yield."""
    entries = []
    for event in news:
        if event.type == "item":
            entries.append(events.Entry(at=event.at, type="step_item", step=event.step, data=event.values or {}))
        elif event.type == "step_retrying":
            error = event.error.message if event.error else None
            data = {"attempt": event.attempt, "delay": event.delay, "error": error}
            entries.append(events.Entry(at=event.at, type="step_retrying", step=event.step, data=data))
    return entries


def _history(before: Progress, after: Progress, changed: list[StepRun]) -> list[events.Entry]:
    at = now()
    entries = [
        events.Entry(
            at=step.ended or step.started or step.created,
            type=f"step_{step.state}",
            step=step.step,
            data={
                "reason": step.reason,
                "error": step.error.message if step.error else None,
                "started": step.started.isoformat() if step.started else None,
            },
        )
        for step in changed
        if step.state is not StepState.RETRYING  # told already, attempt by attempt
    ]
    if after.run.state is not before.run.state:
        data = {"reason": after.run.reason}
        entries.append(events.Entry(at=after.run.ended or at, type=f"run_{after.run.state}", data=data))
    return entries
