"""Replays: a run once more, with changes, on another version, or only what did not end well."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from penstock.control import snapshots
from penstock.control.targets import Target, snapshot_of
from penstock.errors import Conflict, NotFound, fault
from penstock.model.graph import Graph
from penstock.model.run import Cause, StepRun, StepState
from penstock.store import runs
from penstock.store.session import ReadSession


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Which run, and what of it is taken over. With neither of the two, every step is carried out again."""

    run: str
    from_failure: bool = False
    """Take over what ended well."""

    from_step: str | None = None
    """Take over what ended well, but for this step and all that hang on it."""


def cause(rs: ReadSession, wanted: Replay, target: Target, by: Cause) -> Cause:
    """The cause of the new run, which says what it takes over.

    Raises `Conflict` if the run goes on, or if there is nothing to resume; `NotFound` for an unknown step.
    """
    run = runs.get(rs, wanted.run)
    said = replace(by, kind="replay", replay_of=run.id)
    if not wanted.from_failure and wanted.from_step is None:
        return said
    if not run.state.terminal:
        raise Conflict(f"Run {run.name} is {run.state}: wait for its end, or cancel it, before it is resumed.")
    steps = runs.steps(rs, run.id)
    again = {name for name, step in steps.items() if step.state not in (StepState.COMPLETED, StepState.CACHED)}
    if wanted.from_step is not None:
        if wanted.from_step not in steps:
            mistake = fault("/from_step", "The run has no such step.", allowed=steps, given=wanted.from_step)
            raise NotFound(f"Run {run.name} has no step '{wanted.from_step}'.", errors=[mistake])
        again.add(wanted.from_step)
    if target.named:
        before, after = snapshots.get(rs, run.snapshot_id), snapshot_of(rs, target)
        again |= _changed(steps, before.content.graph, after.content.graph) if before.id != after.id else set()
    return replace(said, again=tuple(sorted(_with_downstream(again, steps))))


def _changed(steps: Collection[str], before: Graph, after: Graph) -> set[str]:
    """The steps whose code is not certainly the same in the two versions."""
    changed = set()
    for name in steps:
        old, new = before.invocation(name), after.invocation(name)
        same = old is not None and new is not None and old.code is not None and old.code == new.code
        if not same or (old and new and (old.outputs, old.step) != (new.outputs, new.step)):
            changed.add(name)
    return changed


def _with_downstream(again: set[str], steps: Mapping[str, StepRun]) -> set[str]:
    """`again`, and all steps that hang on one of them, however far down."""
    whole = set(again)
    while more := {name for name, step in steps.items() if name not in whole and whole.intersection(step.upstream)}:
        whole |= more
    return whole
