"""The one door: what it writes, what it refuses, and what it does not do twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.control import runs, snapshots
from penstock.control.idempotency import Once
from penstock.control.targets import Target
from penstock.errors import Conflict, InvalidInput, KeyReused, NotFound
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.idempotency import IdempotencyKey
from penstock.model.run import Cause, RunState
from tests.unit.control.conftest import CONTENT, House


def test_a_run_knows_where_it_comes_from(daily: House) -> None:
    run = daily.start("daily@v1", depth=5, said=PipelineRunConfiguration(tags=("a", "a"), run_name="mine")).run
    assert daily.run("mine") == run
    assert (run.state, run.parameters, run.tags) == (RunState.QUEUED, {"depth": 5}, ("a",))
    assert (run.template_name, run.template_version, run.pipeline_name) == ("daily", 1, "train")
    assert run.name.startswith("mine")


def test_a_target_is_exactly_one_thing(daily: House) -> None:
    with daily.here.db.write() as session, pytest.raises(InvalidInput, match="Say what to run"):
        runs.start(session, daily.here, Target(), PipelineRunConfiguration(), runs.Options(), Cause())
    both = Target(template="daily", pipeline="train")
    with daily.here.db.write() as session, pytest.raises(InvalidInput, match="Say what to run"):
        runs.start(session, daily.here, both, PipelineRunConfiguration(), runs.Options(), Cause())


def test_a_pipeline_means_its_latest_runnable_snapshot(daily: House) -> None:
    newest = daily.snapshot(replace(CONTENT, description="newer"))
    daily.snapshot(replace(CONTENT, code=None, code_note="It was a notebook."))
    with daily.here.db.write() as session:
        target = Target(pipeline="train")
        started = runs.start(session, daily.here, target, PipelineRunConfiguration(), runs.Options(), Cause())
    assert started.run.snapshot_id == newest.id


def test_a_snapshot_without_code_cannot_be_launched_but_claimed(house: House) -> None:
    snapshot = house.snapshot(replace(CONTENT, code=None, code_note="It was a notebook."))
    target = Target(snapshot=snapshot.id)
    with house.here.db.write() as session, pytest.raises(Conflict, match="notebook"):
        runs.start(session, house.here, target, PipelineRunConfiguration(), runs.Options(), Cause())
    with house.here.db.write() as session:
        claimed = runs.start(
            session, house.here, target, PipelineRunConfiguration(), runs.Options(claim=True), Cause()
        ).run
    assert (claimed.state, claimed.fence) == (RunState.STARTING, 1)
    assert runs.held_by_caller(claimed)


def test_the_same_key_gives_the_same_run_and_another_request_is_refused(daily: House) -> None:
    once = Once(key=IdempotencyKey(key="k"), fingerprint="f")
    first = daily.start(once=once)
    again = daily.start(once=once)
    assert (first.replayed, again.replayed, again.run.id) == (False, True, first.run.id)
    with pytest.raises(KeyReused):
        daily.start(once=Once(key=IdempotencyKey(key="k"), fingerprint="other"))
    other = daily.start(once=once, cause=Cause(account="somebody", account_id="else"))
    assert not other.replayed
    assert daily.total() == 2


def test_a_refusal_writes_nothing_and_keeps_the_key_free(daily: House) -> None:
    once = Once(key=IdempotencyKey(key="k"), fingerprint="f")
    with pytest.raises(InvalidInput):
        daily.start(depth="deep", once=once)
    with pytest.raises(NotFound):
        daily.start("nowhere", once=once)
    assert daily.total() == 0
    assert not daily.start(once=once).replayed


def test_a_name_is_used_once(daily: House) -> None:
    daily.start(said=PipelineRunConfiguration(run_name="mine"))
    with pytest.raises(Conflict, match="mine"):
        daily.start(said=PipelineRunConfiguration(run_name="mine"))


def test_a_queued_run_is_cancelled_at_once_and_a_claimed_one_is_asked_to_stop(daily: House) -> None:
    queued = daily.start().run
    with daily.here.db.write() as session:
        assert runs.cancel(session, daily.here, queued.id).state is RunState.CANCELLED
        assert runs.cancel(session, daily.here, queued.id).state is RunState.CANCELLED
    daily.start()
    claimed = daily.claim()
    with daily.here.db.write() as session:
        assert runs.cancel(session, daily.here, claimed.id).state is RunState.CANCELLING


def test_freezing_the_same_thing_twice_is_one_snapshot(house: House) -> None:
    with house.here.db.write() as session:
        first, new = snapshots.create(session, house.here, CONTENT, name="a")
        second, again = snapshots.create(session, house.here, CONTENT, name="b")
    assert (new, again, second.id) == (True, False, first.id)
    assert second.names == ("a", "b")


def test_a_snapshot_of_a_format_from_the_future_is_refused(house: House) -> None:
    with pytest.raises(InvalidInput, match="Format 99"):
        house.snapshot(replace(CONTENT, format=99))
