"""The checker has to find what was made wrong on purpose, and nothing in a history that is right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.drill.checker import KINDS, Finding, check
from penstock.drill.records import (
    STEPS,
    Answer,
    Blow,
    Cancel,
    Death,
    Deed,
    Heard,
    History,
    Leftover,
    Order,
    Record,
    Sight,
    Surprise,
    Told,
)

LEASE = 3.0


def deed(step: str, event: str, at: float, **changes: object) -> Deed:
    made = Deed(order=1, run_id="r1", step=step, attempt=1, pid=100, event=event, at=at)  # type: ignore[arg-type]
    return replace(made, **changes)  # type: ignore[arg-type]


def good() -> list[Record]:
    """An order with a key that was sent twice, because the first answer was lost; and everything well."""
    deeds = [deed(step, event, 10 + n) for n, step in enumerate(STEPS) for event in ("begin", "end")]
    lines = tuple(f"order 1 {step}" for step in STEPS)
    return [
        Order(number=1, key="order-1"),
        Answer(order=1, at=1.0, status=None),
        Answer(order=1, at=2.0, status=202, run_id="r1"),
        Sight(run_id="r1", at=3.0, state="queued"),
        *deeds,
        Sight(run_id="r1", at=20.0, state="completed"),
        told(output=5, steps=dict.fromkeys(STEPS, "completed"), lines=lines),
    ]


def told(**changes: object) -> Told:
    made = Told(run_id="r1", order=1, state="completed")
    return replace(made, **changes)  # type: ignore[arg-type]


def found(records: list[Record]) -> list[Finding]:
    return check(History(records), lease=LEASE)


def without(records: list[Record], *kinds: type[Record]) -> list[Record]:
    return [one for one in records if not isinstance(one, kinds)]


def ended_as(state: str, *more: Record) -> list[Record]:
    """The same run, but this is how it ended: its step `draw` was begun, and that was all."""
    begun = deed("draw", "begin", 10.0)
    return [*without(good(), Deed, Told, Sight), begun, told(state=state, error="why"), *more]


def test_a_history_that_is_right_has_nothing_in_it() -> None:
    assert found(good()) == []


@pytest.mark.parametrize(
    ("records", "kind", "words"),
    [
        (without(good(), Told), "lost", "not there at the end"),
        ([*without(good(), Told), told(order=2)], "lost", "is of order 2"),
        ([one for one in good() if getattr(one, "step", "") != "left"], "lost", "step left was never carried out"),
        ([*without(good(), Told), replace(told(), output=5, steps=dict.fromkeys(STEPS, "completed"))], "lost", "line"),
        ([*good(), told(run_id="r2", state="cancelled"), Cancel(run_id="r2", at=5.0, status=202)], "doubled", "2 runs"),
        ([*good(), deed("draw", "begin", 10.5, run_id="r2")], "doubled", "2 runs"),
        (
            [*good(), Answer(order=1, at=4.0, status=202, run_id="r2"), told(run_id="r2", state="failed")],
            "doubled",
            "2",
        ),
        ([*good(), deed("draw", "begin", 10.5)], "doubled", "begun 2 times"),
        ([*good(), deed("draw", "begin", 12.5, pid=101)], "doubled", "more than one process"),
        ([*good(), deed("left", "begin", 10.9, attempt=2)], "doubled", "2 attempts"),
        ([*good(), deed("draw", "begin", 15.0, attempt=2)], "doubled", "after it had ended"),
        ([*good(), deed("join", "begin", 21.0, attempt=2)], "doubled", "after the run had ended"),
        (ended_as("running"), "stuck", "still running"),
        (ended_as("queued"), "stuck", "still queued"),
        ([Order(number=1, key="k"), Answer(order=1, at=1.0, status=None)], "stuck", "never an answer"),
        ([*good(), Leftover(kind="process", what="77 of a run that has ended")], "leaked", "process: 77"),
        ([*good(), Leftover(kind="slot", what="only 5 of 6")], "leaked", "slot"),
        ([*without(good(), Told), told(output=7, steps={}, lines=())], "wrong", "7 instead of 5"),
        (ended_as("failed"), "wrong", "nothing was done to it"),
        (ended_as("cancelled"), "wrong", "nobody asked"),
        ([*good(), Cancel(run_id="r1", at=12.0, status=202)], "wrong", "a cancel was accepted"),
        ([*good(), Surprise(at=1.0, what="GET /runs was answered 500")], "wrong", "answered 500"),
        ([*good(), Death(at=1.0, status=1)], "wrong", "ended by itself"),
    ],
)
def test_what_was_made_wrong_is_found(records: list[Record], kind: str, words: str) -> None:
    kinds = {one.kind for one in found(records) if words in one.what}
    assert kind in kinds, found(records)
    assert kinds <= set(KINDS)


def test_a_run_that_was_hit_may_fail() -> None:
    hit = Blow(fault="worker", what="kill -9", at=9.0, until=9.5, runs=("r1",))
    assert found(ended_as("failed", hit)) == []
    assert found(ended_as("failed", replace(hit, runs=("r2",)))) != []


def test_a_run_that_was_under_way_when_everything_was_hit_may_fail() -> None:
    hit = Blow(fault="supervisor", what="kill -9", at=9.0, until=9.5, all_runs=True)
    assert found(ended_as("failed", hit)) == []
    assert found(ended_as("failed", replace(hit, at=0.1, until=0.5))) != []  # it was not even sent then
    over = Sight(run_id="r1", at=8.0, state="failed")
    assert found(ended_as("failed", hit, over)) != []


def test_killing_the_server_excuses_nothing() -> None:
    assert found(ended_as("failed", Blow(fault="server", what="kill -9", at=9.0, until=11.0))) != []


def test_without_a_key_each_unanswered_sending_may_be_a_run() -> None:
    records = [Order(number=1) if isinstance(one, Order) else one for one in good()]
    other = told(run_id="r2", state="cancelled")
    cancelled = Cancel(run_id="r2", at=5.0, status=202)
    assert found([*records, other, cancelled]) == []
    answered = [replace(one, status=422) if isinstance(one, Answer) and not one.accepted else one for one in records]
    assert [one.kind for one in found([*answered, other, cancelled])] == ["doubled"]


def test_a_refusal_starts_nothing() -> None:
    records: list[Record] = [Order(number=1), Answer(order=1, at=1.0, status=429), told(state="failed")]
    assert "doubled" in {one.kind for one in found(records)}


def test_an_attempt_that_the_policy_has_is_right() -> None:
    records = [replace(one, flaky=True) if isinstance(one, Order) else one for one in good()]
    tried = [deed("left", "begin", 9.0), deed("left", "fail", 9.1)]
    again = [replace(one, attempt=2) if isinstance(one, Deed) and one.step == "left" else one for one in records]
    assert found([*tried, *again]) == []


def test_a_result_that_could_not_be_kept_may_be_made_again_where_the_policy_has_a_retry() -> None:
    again = [replace(one, attempt=2, at=one.at + 0.5) for one in good() if isinstance(one, Deed) and one.step == "left"]
    assert {one.kind for one in found([*good(), *again])} == {"doubled"}
    full = Blow(fault="disk", what="no file could grow", at=9.0, until=12.0, all_runs=True)
    assert found([*good(), *again, full]) == []
    without_policy = [replace(one, step="right") for one in again]
    assert {one.kind for one in found([*good(), *without_policy, full])} == {"doubled"}


def test_whoever_asked_is_told_of_the_end_in_one_message() -> None:
    records = [replace(one, callback=True) if isinstance(one, Order) else one for one in good()]
    heard = Heard(run_id="r1", state="completed", message="m1", at=20.0)
    assert [(one.kind, one.what) for one in found(records)] == [("lost", "nobody was told of its end")]
    assert found([*records, heard, replace(heard, at=21.0)]) == []
    assert [one.kind for one in found([*records, heard, replace(heard, message="m2")])] == ["doubled"]
    assert [one.kind for one in found([*records, replace(heard, state="failed")])] == ["wrong"]


def test_an_end_that_was_taken_back_is_found() -> None:
    records = [replace(one, state="failed") if isinstance(one, Sight) and one.at == 20.0 else one for one in good()]
    assert [(one.kind, one.what) for one in found(records)] == [("wrong", "was failed, and is completed now")]


def test_a_worker_that_was_cut_off_has_time_to_learn_of_its_end() -> None:
    late = deed("left", "begin", 24.0)
    hit = Blow(fault="freeze", what="all workers", at=14.0, until=23.0, all_runs=True)
    over = Sight(run_id="r1", at=20.0, state="failed")
    assert found(ended_as("failed", hit, over, late)) == []
    much_later = replace(late, at=23.0 + 2 * LEASE + 0.1)
    assert [one.kind for one in found(ended_as("failed", hit, over, much_later))] == ["doubled"]
