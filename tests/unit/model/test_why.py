"""Why a run is as it is, from the facts of one moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from penstock.model.run import Failure, Run, RunState, StepRun, StepState
from penstock.model.why import Facts, Holder, why

AT = datetime(2026, 3, 1, tzinfo=UTC)
RUN = Run(
    id="r",
    name="train-1",
    state=RunState.QUEUED,
    pipeline_id="p",
    pipeline_name="p",
    snapshot_id="s",
    template_name="train",
    created=AT,
)
FREE = Facts(run=RUN, slots=4, active=1)


def kinds(facts: Facts) -> list[str]:
    return [one.kind for one in why(facts).blockers]


def step(name: str, state: StepState, **changes: Any) -> StepRun:
    return replace(StepRun(id=name, run_id="r", step=name, name=name, created=AT), state=state, **changes)


def test_a_queued_run_that_nothing_holds_up_is_next() -> None:
    told = why(FREE)
    assert (told.blockers, "next" in told.summary) == ((), True)


def test_everything_that_holds_a_queued_run_up_is_told_the_nearest_first() -> None:
    holder = Holder(name="train-0", since=AT)
    facts = replace(
        FREE, limit=1, alike=(holder,), alike_active=1, before=2, active=4, run=replace(RUN, reason="No room.")
    )
    told = why(facts)
    assert [one.kind for one in told.blockers] == ["limit", "slots", "queue", "launch"]
    assert told.summary == told.blockers[0].detail == "'train' takes 1 at once, and 1 go on."
    assert told.blockers[0].holders == (holder,)
    assert kinds(replace(FREE, limit=2, alike_active=1)) == []
    assert kinds(replace(FREE, before=1)) == ["queue"]


def test_of_a_run_that_goes_on_its_steps_are_told() -> None:
    steps = {
        "load": step("load", StepState.RUNNING, started=AT, attempt=2),
        "fit": step("fit", StepState.QUEUED, upstream=("load",)),
        "done": step("done", StepState.COMPLETED),
    }
    told = why(Facts(run=replace(RUN, state=RunState.RUNNING), steps=steps))
    assert [(one.kind, one.detail) for one in told.blockers] == [
        ("step", "Step load is running, attempt 2."),
        ("upstream", "Step fit waits for load."),
    ]


def test_of_a_run_that_is_prepared_or_ended_whoever_does_it_is_told() -> None:
    claimed = {"lease_owner": "supervisor:7", "lease_expires": AT}
    for state in (RunState.STARTING, RunState.CANCELLING):
        assert "supervisor:7" in why(Facts(run=replace(RUN, state=state, **claimed))).summary


def test_of_a_run_that_has_ended_it_is_told_how() -> None:
    failed = replace(RUN, state=RunState.FAILED, error=Failure(type="ValueError", message="no", step="fit"))
    assert why(Facts(run=failed)).summary == "Step fit failed: ValueError: no"
    cancelled = replace(RUN, state=RunState.CANCELLED, reason="Cancelled on request.")
    assert why(Facts(run=cancelled)).summary == "Cancelled on request."
    assert why(Facts(run=replace(RUN, state=RunState.COMPLETED, reason="x"))).summary == "It has completed."


def test_a_run_that_cannot_start_yet_says_what_is_done_for_it() -> None:
    run = replace(
        RUN, state=RunState.STARTING, reason="It is preparing an environment.", lease_owner="s", lease_expires=AT
    )
    told = why(Facts(run=run))
    assert told.summary == "It is preparing an environment."
    assert [one.kind for one in told.blockers] == ["environment", "worker"]
