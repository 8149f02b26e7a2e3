"""Limits and turns, against a simple model of a queue."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.errors import InvalidInput
from penstock.model.limits import HIGHEST, Debounce, Lane, Limits, Rate, said, share, turn

AT = datetime(2026, 3, 1, tzinfo=UTC)


def a_lane(key: str, **changes: Any) -> Lane:
    return replace(Lane(key=key, waiting=1, active=0, head=AT, created=AT), **changes)


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"concurrency": 0}, "/concurrency"),
        ({"queue": -1}, "/queue"),
        ({"concurrency_key": "region"}, "/concurrency_key"),
        ({"concurrency_key": "parameters."}, "/concurrency_key"),
    ],
)
def test_limits_that_limit_nothing_are_refused(wrong: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Limits(**wrong)
    assert [one["pointer"] for one in caught.value.errors] == [pointer]


def test_a_rate_has_a_number_and_a_time() -> None:
    for wrong in ({"limit": 0, "per": 1}, {"limit": 1, "per": 0}):
        with pytest.raises(InvalidInput):
            Rate(**wrong)


def test_the_key_names_a_parameter_or_the_account() -> None:
    assert Limits(concurrency_key="parameters.region").parameter == "region"
    assert Limits(concurrency_key="account").parameter is None


def test_what_is_left_open_is_not_said() -> None:
    limits = Limits(queue=2, rate=Rate(limit=1, per=60))
    assert said(limits) == {"queue": 2, "rate": {"limit": 1, "per": 60}}


def test_a_run_is_put_off_anew_by_each_that_comes_but_not_for_ever() -> None:
    later = AT + timedelta(seconds=8)
    assert Debounce(delay=5).until(later, AT) == AT + timedelta(seconds=13)
    assert Debounce(delay=5, most=10).until(later, AT) == AT + timedelta(seconds=10)
    assert said(Limits(debounce=Debounce(delay=5), singleton="join")) == {"debounce": {"delay": 5}, "singleton": "join"}
    for wrong in ({"delay": 0}, {"delay": 5, "most": 4}):
        with pytest.raises(InvalidInput):
            Debounce(**wrong)


def test_lanes_take_turns() -> None:
    lanes = [a_lane("a", waiting=10_000), a_lane("b", waiting=2, head=AT + timedelta(1), created=AT + timedelta(1))]
    assert share(lanes, 5, AT + timedelta(2)) == ["a", "b", "a", "b", "a"]


def test_the_lane_that_was_served_last_waits_for_a_later_one() -> None:
    served = a_lane("a", waiting=10, served=AT + timedelta(seconds=9))
    newcomer = a_lane("b", head=AT + timedelta(seconds=8), created=AT + timedelta(seconds=8))
    assert share([served, newcomer], 1, AT + timedelta(seconds=10)) == ["b"]


def test_a_blocked_lane_delays_nobody() -> None:
    assert share([a_lane("a", active=2, limit=2), a_lane("b", head=AT + timedelta(1))], 2, AT) == ["b"]


def test_a_priority_is_worth_minutes_and_no_more() -> None:
    assert turn(AT + timedelta(minutes=4), 5) < turn(AT, None) < turn(AT + timedelta(minutes=6), 5)


class Queue(RuleBasedStateMachine):
    """Lanes of runs: no limit is passed, no slot stays free that could be used, nobody is passed over for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.now = AT
        self.limits = {"a": None, "b": 1, "c": 2}
        self.waiting: dict[str, list[tuple[datetime, datetime]]] = {key: [] for key in self.limits}
        self.active = dict.fromkeys(self.limits, 0)
        self.served: dict[str, datetime] = {}

    @rule(key=st.sampled_from("abc"), priority=st.integers(-HIGHEST, HIGHEST), count=st.integers(1, 5))
    def enqueue(self, key: str, priority: int, count: int) -> None:
        self.waiting[key] += [(turn(self.now, priority), self.now)] * count
        self.waiting[key].sort()

    @rule(key=st.sampled_from("abc"))
    def end(self, key: str) -> None:
        self.active[key] = max(0, self.active[key] - 1)

    @rule(free=st.integers(0, 6))
    def claim(self, free: int) -> None:
        self.now += timedelta(seconds=1)
        lanes = [
            Lane(
                key=key,
                waiting=len(runs),
                active=self.active[key],
                head=runs[0][0],
                created=runs[0][1],
                limit=self.limits[key],
                served=self.served.get(key),
            )
            for key, runs in self.waiting.items()
            if runs
        ]
        ready = {
            lane.key: lane.waiting if lane.limit is None else min(lane.waiting, max(0, lane.limit - lane.active))
            for lane in lanes
        }
        chosen = share(lanes, free, self.now)
        assert len(chosen) == min(free, sum(ready.values()))
        for key in chosen:
            self.waiting[key].pop(0)
            self.active[key] += 1
            self.served[key] = self.now

    @invariant()
    def no_limit_is_passed(self) -> None:
        assert all(limit is None or self.active[key] <= limit for key, limit in self.limits.items())


TestQueue = Queue.TestCase


@given(high=st.integers(-HIGHEST, HIGHEST), low=st.integers(-HIGHEST, HIGHEST))
def test_low_priority_gets_its_turn(high: int, low: int) -> None:
    """However many of a higher priority keep coming in another lane, they are ahead for a bounded time only."""
    patient = a_lane("low", head=turn(AT, low))
    later = AT + timedelta(seconds=60 * 2 * HIGHEST + 1)
    busy = a_lane("high", waiting=10_000, head=turn(later, high), created=later, served=later)
    assert share([busy, patient], 1, later) == ["low"]
