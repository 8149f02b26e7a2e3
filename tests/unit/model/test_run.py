"""The state machine of runs: examples, and properties over random histories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import Conflict
from penstock.model.run import (
    TERMINAL,
    TRANSITIONS,
    Event,
    EventType,
    Failure,
    Progress,
    Run,
    RunState,
    StepState,
    advance,
    end,
    fold,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_run(state: RunState = RunState.STARTING) -> Run:
    return Run(
        id="r",
        name="train-1",
        state=state,
        pipeline_id="p",
        pipeline_name="train",
        snapshot_id="s",
        created=START,
        lease_owner="me",
        lease_expires=START + timedelta(seconds=10),
    )


def history(*types: tuple[EventType, str | None]) -> list[Event]:
    return [
        Event(seq=number, at=START + timedelta(seconds=number), type=type, step=step, id=f"id-{number}")
        for number, (type, step) in enumerate(types, 1)
    ]


def after(*types: tuple[EventType, str | None], state: RunState = RunState.STARTING) -> Progress:
    progress = Progress(a_run(state), {})
    for event in history(*types):
        progress = fold(progress, event)
    return progress


def test_a_run_that_completes() -> None:
    progress = after(
        ("run_started", None),
        ("step_declared", "load"),
        ("step_started", "load"),
        ("step_completed", "load"),
        ("run_completed", None),
    )
    assert progress.run.state is RunState.COMPLETED
    assert progress.run.started == START + timedelta(seconds=1)
    assert progress.run.ended == START + timedelta(seconds=5)
    assert progress.steps["load"].state is StepState.COMPLETED
    assert progress.run.lease_owner is None


def test_no_step_stays_running_when_the_run_fails() -> None:
    progress = after(
        ("run_started", None),
        ("step_declared", "a"),
        ("step_started", "a"),
        ("step_declared", "b"),
        ("run_failed", None),
    )
    assert progress.steps["a"].state is StepState.FAILED
    assert progress.steps["b"].state is StepState.SKIPPED


def test_an_event_that_comes_twice_changes_nothing() -> None:
    progress = after(("run_started", None), ("step_declared", "a"))
    assert fold(progress, history(("run_started", None))[0]) == progress


def test_a_gap_in_the_journal_is_refused() -> None:
    with pytest.raises(Conflict, match="missing"):
        fold(after(("run_started", None)), Event(seq=3, at=START, type="run_completed"))


def test_a_step_that_was_never_declared_is_refused() -> None:
    with pytest.raises(Conflict, match="never declared"):
        after(("run_started", None), ("step_started", "ghost"))


def test_a_run_that_is_being_cancelled_cannot_begin() -> None:
    with pytest.raises(Conflict, match="cannot become running"):
        after(("run_started", None), state=RunState.CANCELLING)


@pytest.mark.parametrize("last", ["run_completed", "run_failed"])
def test_whatever_ends_while_it_is_cancelled_is_cancelled(last: EventType) -> None:
    progress = after(("run_started", None), ("step_declared", "a"), ("step_started", "a"))
    cancelling = Progress(advance(progress.run, RunState.CANCELLING, START), progress.steps)
    ended = fold(cancelling, Event(seq=4, at=START, type=last, error=Failure(type="E", message="m")))
    assert ended.run.state is RunState.CANCELLED
    assert ended.run.outputs is None
    assert ended.steps["a"].state is StepState.CANCELLED


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_terminal_states_absorb(state: RunState) -> None:
    assert TRANSITIONS[state] == frozenset()
    for to in RunState:
        with pytest.raises(Conflict):
            advance(a_run(state), to, START)


def test_a_run_never_ends_before_it_started() -> None:
    running = advance(a_run(), RunState.RUNNING, START + timedelta(seconds=5))
    assert end(Progress(running, {}), RunState.FAILED, START).run.ended == START + timedelta(seconds=5)


TYPES = st.sampled_from(
    [
        "run_started",
        "step_declared",
        "step_started",
        "step_completed",
        "step_failed",
        "step_skipped",
        "step_cancelled",
        "log",
        "run_completed",
        "run_failed",
    ]
)
MOVES = st.lists(st.tuples(TYPES, st.sampled_from(["a", "b"]), st.integers(-2, 2), st.booleans()), max_size=40)


@given(MOVES)
def test_no_history_breaks_the_promises(moves: list[tuple[EventType, str, int, bool]]) -> None:
    """Events in any order, repeated, with gaps, with a cancel in between: one terminal state, reached once."""
    progress = Progress(a_run(), {})
    ended: Run | None = None
    for type, step, skew, cancel in moves:
        before = progress
        event = Event(
            seq=max(1, progress.run.sequence + 1 + (skew if skew in (-1, 1) else 0)), at=START, type=type, step=step
        )
        try:
            progress = fold(progress, event)
            if cancel and progress.run.state in (RunState.STARTING, RunState.RUNNING):
                progress = Progress(advance(progress.run, RunState.CANCELLING, START), progress.steps)
        except Conflict:
            assert progress is before
        assert progress.run.sequence >= before.run.sequence
        if ended is not None:
            assert progress.run == ended
        if progress.run.state in TERMINAL:
            ended = progress.run
            assert all(one.state.terminal for one in progress.steps.values())
            assert ended.ended is not None
            assert ended.lease_owner is None
        for key, one in before.steps.items():
            if one.state.terminal:
                assert progress.steps[key] == one
