from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.model.tally import Slice, Tally, of_one
from penstock.model.trial import (
    MOST_EXAMPLES,
    MOST_POINTERS,
    MOST_PROCESSES,
    OTHERS,
    Example,
    Figures,
    Part,
    Place,
    Rule,
    check_share,
    chosen,
    verdict,
    with_part,
)

COUNTS = st.integers(0, 200).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, count)))


def slices(candidate: tuple[int, int], first: tuple[int, int] = (0, 0)) -> list[Slice]:
    (asked, failed), (before, failed_before) = candidate, first
    return [
        Slice(
            at=0,
            candidate=Tally(requests=asked, errors=failed),
            first=Tally(requests=before, errors=failed_before),
        )
    ]


@given(COUNTS, COUNTS, st.floats(0, 1), st.integers(1, 50))
def test_it_is_stopped_if_it_fails_more_often_than_it_may_and_not_otherwise(
    candidate: tuple[int, int], first: tuple[int, int], most: float, least: int
) -> None:
    rule = Rule(max_error_rate=most, min_requests=least)
    before = first[1] / first[0] if first[0] else 0.0
    rate = candidate[1] / candidate[0] if candidate[0] else 0.0
    wanted = candidate[0] >= least and rate > most + before
    assert (verdict(rule, slices(candidate, first)) is not None) is wanted


@given(COUNTS, st.integers(1, 5))
def test_however_it_is_sliced_the_decision_is_the_same(candidate: tuple[int, int], parts: int) -> None:
    asked, failed = candidate
    ones = [of_one(0.1, failed=number < failed) for number in range(asked)]
    sliced = [Slice(at=number % parts, candidate=one) for number, one in enumerate(ones)]
    assert (verdict(Rule(), sliced) is None) is (verdict(Rule(), slices(candidate)) is None)


def test_it_is_stopped_if_it_is_too_slow() -> None:
    rule = Rule(max_slowdown=2, min_requests=10)
    first = [Slice(at=0, first=of_one(0.1, failed=False))] * 10
    slow = [Slice(at=1, candidate=of_one(0.25, failed=False))] * 10
    assert verdict(rule, [*first, *slow[:9]]) is None
    assert verdict(rule, [*first[:9], *slow]) is None
    assert "times as long" in str(verdict(rule, [*first, *slow]))
    assert verdict(rule, [*first, *[Slice(at=1, candidate=of_one(0.18, failed=False))] * 10]) is None
    assert verdict(Rule(min_requests=10), [*first, *slow]) is None


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_key_stays_chosen_when_the_share_grows(key: str, one: float, other: float) -> None:
    less, more = sorted((one, other))
    if chosen("t", less, key, 0.0):
        assert chosen("t", more, key, 0.99)
    assert chosen("t", 1, key, 0.5)
    assert not chosen("t", 0, key, 0.0)
    assert chosen("t", one, key, 0.1) == chosen("t", one, key, 0.9)


def test_keys_are_shared_out_as_is_said_and_otherwise_in_each_trial() -> None:
    keys = [str(number) for number in range(10_000)]
    by_trial = [{key for key in keys if chosen(trial, 0.2, key, 0.0)} for trial in ("one", "two")]
    for found in by_trial:
        assert 1800 < len(found) < 2200
    assert 300 < len(by_trial[0] & by_trial[1]) < 500
    assert chosen("t", 0.2, None, 0.19)
    assert not chosen("t", 0.2, None, 0.2)


PARTS = st.builds(
    Part,
    slices=st.lists(st.builds(lambda at: Slice(at=at, candidate=of_one(1, failed=True)), st.integers(160, 170))).map(
        tuple
    ),
    compared=st.integers(0, 9),
    different=st.integers(0, 9),
    places=st.dictionaries(st.sampled_from(["/a", "/b"]), st.builds(Place, count=st.integers(1, 5))),
)


@given(st.lists(PARTS, max_size=6), st.data())
def test_what_is_told_again_is_counted_once(parts: list[Part], data: st.DataObject) -> None:
    figures = again = Figures()
    for number, part in enumerate(parts, 1):
        figures = with_part(figures, "p", number, part, at=1000.0, window=60.0)
        for _ in range(data.draw(st.integers(1, 3))):
            again = with_part(again, "p", number, part, at=1000.0, window=60.0)
    assert again == figures
    assert figures.total.compared == sum(part.compared for part in parts)
    assert figures.candidate.errors == sum(len(part.slices) for part in parts)


def test_nothing_in_the_figures_grows_without_end() -> None:
    example = Example(at=datetime.now(UTC), status=200, candidate_status=500)
    figures = Figures()
    for number in range(1, MOST_PROCESSES + 100):
        part = Part(
            slices=(Slice(at=number, candidate=of_one(1, failed=False)),),
            places={f"/outputs/{number}": Place(count=1, largest=number / 2000)},
            examples=(example,) * 2,
        )
        figures = with_part(figures, f"p{number}", 1, part, at=number * 6.0, window=60.0)
    assert len(figures.processes) == MOST_PROCESSES
    assert len(figures.total.examples) == MOST_EXAMPLES
    assert len(figures.total.places) == MOST_POINTERS + 1
    assert figures.total.places[OTHERS].count == number - MOST_POINTERS
    assert figures.total.places[OTHERS].largest == number / 2000
    assert len(figures.total.slices) == 10
    assert figures.candidate.requests == number


@pytest.mark.parametrize(
    "said",
    [
        {"max_error_rate": 1.5},
        {"min_requests": 0},
        {"window": 0.5},
        {"max_slowdown": 1},
        {"max_slowdown": float("inf")},
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        Rule(**said)
    assert [one["pointer"] for one in refused.value.errors] == [f"/rule/{next(iter(said))}"]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_one(share: float) -> None:
    with pytest.raises(InvalidInput, match="no share"):
        check_share(share)


def test_of_processes_those_are_forgotten_that_have_told_nothing_for_longest() -> None:
    figures = Figures()
    for number in range(MOST_PROCESSES):
        figures = with_part(figures, "busy", number + 1, Part(compared=1), at=0.0, window=60.0)
        figures = with_part(figures, f"p{number}", 1, Part(), at=0.0, window=60.0)
    assert with_part(figures, "busy", MOST_PROCESSES, Part(compared=1), at=0.0, window=60.0) == figures
