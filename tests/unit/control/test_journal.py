"""Reports of workers and supervisors, folded into the store."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.control import journal, runs
from penstock.control.installation import now
from penstock.errors import StaleFence
from penstock.model.launch import Exit, Held, Report
from penstock.model.run import Batch, Event, Failure, LogLine, Receipt, Run, RunState, StepState
from penstock.store import logs
from penstock.store import runs as stored
from tests.unit.control.conftest import House


def report(house: House, run: Run, *events: Event, fence: int | None = None) -> Receipt:
    with house.here.db.write() as session:
        batch = Batch(fence=run.fence if fence is None else fence, events=events)
        return journal.report(session, house.here, run.id, batch)


def supervise(house: House, *held: Held, exits: tuple[Exit, ...] = ()) -> dict[str, str]:
    with house.here.db.write() as session:
        return dict(journal.supervise(session, house.here, Report(owner="sup", held=held, exits=exits)).stop)


def event(seq: int, type: Any, **fields: Any) -> Event:
    return Event(seq=seq, at=now(), type=type, **fields)


@pytest.fixture
def claimed(daily: House) -> Run:
    daily.start()
    return daily.claim()


def test_a_journal_becomes_state_steps_and_lines(daily: House, claimed: Run) -> None:
    line = LogLine(at=now(), stream="stdout", text="hello", step="fit")
    events = [
        event(1, "run_started"),
        event(2, "step_declared", step="fit", id="s1", name="fit"),
        event(3, "step_started", step="fit"),
        event(4, "log", lines=(line,)),
        event(5, "step_completed", step="fit"),
    ]
    assert report(daily, claimed, *events) == Receipt(state=RunState.RUNNING, sequence=5)
    assert report(daily, claimed, *events).sequence == 5  # the same again
    report(daily, claimed, event(6, "run_completed", values={"x": 1}))
    run = daily.run(claimed.id)
    assert (run.state, run.outputs, run.lease_owner) == (RunState.COMPLETED, {"x": 1}, None)
    with daily.here.db.read() as session:
        assert stored.steps(session, run.id)["fit"].state is StepState.COMPLETED
        assert [one.text for one in logs.after(session, run.id)[0]] == ["hello"]


def test_the_end_of_a_run_is_told_to_those_steps_that_had_none(daily: House, claimed: Run) -> None:
    declared = [
        event(at, "step_declared", step=name, id=f"s{at}", name=name) for at, name in ((2, "a"), (3, "b"), (4, "c"))
    ]
    report(daily, claimed, event(1, "run_started"), *declared)
    report(daily, claimed, event(5, "step_started", step="a"), event(6, "step_completed", step="a"))
    report(daily, claimed, event(7, "step_started", step="b"))
    report(daily, claimed, event(8, "run_failed"))
    with daily.here.db.read() as session:
        states = {name: step.state for name, step in stored.steps(session, claimed.id).items()}
    assert states == {"a": StepState.COMPLETED, "b": StepState.FAILED, "c": StepState.SKIPPED}


def test_a_step_of_an_earlier_batch_is_known_in_a_later_one(daily: House, claimed: Run) -> None:
    report(daily, claimed, event(1, "run_started"), event(2, "step_declared", step="a", id="s1", name="a"))
    report(daily, claimed, event(3, "step_declared", step="a", id="s2", name="other"))
    with daily.here.db.read() as session:
        assert stored.steps(session, claimed.id)["a"].id == "s1"
    report(daily, claimed, event(4, "step_started", step="a"), event(5, "step_completed", step="a"))
    with pytest.raises(StaleFence, match="has ended"):
        report(daily, claimed, event(6, "step_started", step="a"))


def test_the_last_report_may_be_repeated_but_nothing_may_follow_it(daily: House, claimed: Run) -> None:
    last = [event(1, "run_started"), event(2, "run_completed")]
    report(daily, claimed, *last)
    assert report(daily, claimed, *last).state is RunState.COMPLETED
    with pytest.raises(StaleFence):
        report(daily, claimed, event(3, "log"))
    with pytest.raises(StaleFence):
        report(daily, claimed)


def test_an_old_fence_changes_nothing(daily: House, claimed: Run) -> None:
    supervise(daily, exits=(Exit(run_id=claimed.id, fence=1, status=None, failure="it was not there", launched=False),))
    assert daily.run(claimed.id).state is RunState.QUEUED
    again = daily.claim()
    assert again.fence == 2
    with pytest.raises(StaleFence):
        report(daily, claimed, event(1, "run_started"))
    assert daily.run(claimed.id) == again
    assert report(daily, again, event(1, "run_started")).state is RunState.RUNNING


def test_a_heartbeat_renews_leases_and_tells_what_to_stop(daily: House, claimed: Run) -> None:
    assert supervise(daily, Held(run_id=claimed.id, fence=1)) == {}
    renewed = daily.run(claimed.id)
    assert renewed.lease_owner == "sup"
    assert supervise(daily, Held(run_id=claimed.id, fence=0)) == {claimed.id: "stale"}
    with daily.here.db.write() as session:
        runs.cancel(session, daily.here, claimed.id)
    assert supervise(daily, Held(run_id=claimed.id, fence=1)) == {claimed.id: "cancelled"}
    assert supervise(daily, Held(run_id="gone", fence=1)) == {"gone": "stale"}


def test_a_process_that_dies_fails_its_run_with_the_reason(daily: House, claimed: Run) -> None:
    report(daily, claimed, event(1, "run_started"))
    gone = Exit(run_id=claimed.id, fence=1, status=None, signal=11, failure="was killed by SIGSEGV")
    supervise(daily, exits=(gone,))
    run = daily.run(claimed.id)
    assert (run.state, run.error and run.error.type) == (RunState.FAILED, "ProcessDied")
    assert "SIGSEGV" in str(run.reason)
    supervise(daily, exits=(gone,))
    assert daily.run(claimed.id) == run


def test_the_last_words_of_a_dead_process_are_heard(daily: House, claimed: Run) -> None:
    report(daily, claimed, event(1, "run_started"))
    line = LogLine(at=now(), stream="stderr", text="out of luck", step="fit")
    words = (
        event(2, "step_declared", step="fit", id="s1", name="fit"),
        event(3, "step_started", step="fit"),
        event(4, "log", lines=(line,)),
    )
    gone = Exit(run_id=claimed.id, fence=1, status=3, failure="exited with status 3", last_words=words)
    supervise(daily, exits=(gone,))
    run = daily.run(claimed.id)
    assert (run.state, run.error and run.error.step) == (RunState.FAILED, "fit")
    with daily.here.db.read() as session:
        assert stored.steps(session, run.id)["fit"].state is StepState.FAILED
        assert [one.text for one in logs.after(session, run.id)[0]] == ["out of luck"]


def test_last_words_that_tell_the_end_are_believed(daily: House, claimed: Run) -> None:
    report(daily, claimed, event(1, "run_started"))
    words = (event(2, "run_completed", values={"x": 1}),)
    supervise(daily, exits=(Exit(run_id=claimed.id, fence=1, status=69, failure="exited", last_words=words),))
    assert daily.run(claimed.id).state is RunState.COMPLETED


def test_last_words_that_make_no_sense_do_not_keep_the_run_from_ending(daily: House, claimed: Run) -> None:
    report(daily, claimed, event(1, "run_started"))
    words = (event(7, "step_started", step="ghost"),)
    supervise(daily, exits=(Exit(run_id=claimed.id, fence=1, status=1, failure="exited", last_words=words),))
    assert daily.run(claimed.id).state is RunState.FAILED


def test_an_exit_after_the_reported_end_changes_nothing(daily: House, claimed: Run) -> None:
    report(daily, claimed, event(1, "run_started"), event(2, "run_completed"))
    before = daily.run(claimed.id)
    supervise(daily, exits=(Exit(run_id=claimed.id, fence=1, status=1, failure="exited"),))
    assert daily.run(claimed.id) == before


def test_the_exit_of_a_cancelled_run_ends_it_as_cancelled(daily: House, claimed: Run) -> None:
    report(daily, claimed, event(1, "run_started"))
    with daily.here.db.write() as session:
        runs.cancel(session, daily.here, claimed.id)
    assert report(daily, claimed).stop
    supervise(daily, exits=(Exit(run_id=claimed.id, fence=1, status=None, signal=9, failure="was killed"),))
    assert daily.run(claimed.id).state is RunState.CANCELLED


def test_a_run_that_never_starts_is_given_up_after_some_tries(daily: House) -> None:
    daily.start()
    for attempt in range(1, journal.STARTS + 1):
        run = daily.claim()
        assert run.fence == attempt
        supervise(daily, exits=(Exit(run_id=run.id, fence=attempt, status=1, failure="no Python", launched=False),))
    ended = daily.run(run.id)
    assert (ended.state, ended.error and ended.error.type) == (RunState.FAILED, "NotStarted")
    assert "no Python" in str(ended.reason)


def test_what_a_supervisor_does_first_is_the_reason_and_told_once(daily: House, claimed: Run) -> None:
    preparing = Held(run_id=claimed.id, fence=1, doing="It is preparing an environment.")
    for _ in range(3):
        assert supervise(daily, preparing) == {}
    assert daily.run(claimed.id).reason == "It is preparing an environment."
    with daily.here.db.read() as session:
        assert [one.text for one in logs.after(session, claimed.id)[0]] == ["penstock: It is preparing an environment."]
    supervise(daily, Held(run_id=claimed.id, fence=0, doing="Somebody else's word."))
    assert daily.run(claimed.id).reason == "It is preparing an environment."
    report(daily, claimed, event(1, "run_started"))
    supervise(daily, preparing)
    assert daily.run(claimed.id).reason is None


def test_a_run_that_could_not_begin_for_good_has_failed_with_what_was_said(daily: House, claimed: Run) -> None:
    line = LogLine(at=now(), stream="stderr", text="no such package")
    failure = Failure(type="EnvironmentFailed", message="It could not be built.")
    words = (event(1, "log", lines=(line,)), event(2, "run_failed", error=failure))
    died = Exit(run_id=claimed.id, fence=1, status=None, failure="", launched=False, last_words=words)
    supervise(daily, exits=(died,))
    run = daily.run(claimed.id)
    assert (run.state, run.error) == (RunState.FAILED, failure)
    with daily.here.db.read() as session:
        assert [one.text for one in logs.after(session, run.id)[0]] == ["no such package"]
