from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from penstock.model.tally import SLICES, Slice, Tally, compacted, merged, of_one, recent, slice_at

ONES = st.builds(lambda seconds, failed: of_one(seconds, failed=failed), st.floats(0, 1e5), st.booleans())
SLICED = st.lists(st.builds(lambda at, one, two: Slice(at=at, candidate=one, first=two), st.integers(0, 5), ONES, ONES))


def added(tallies: list[Tally]) -> Tally:
    return reduce(Tally.plus, tallies, Tally())


@given(st.lists(ONES, max_size=30), st.integers(0, 30))
def test_in_whatever_parts_they_are_added_up_they_are_the_same(ones: list[Tally], cut: int) -> None:
    whole = added(ones)
    assert added([added(ones[:cut]), added(ones[cut:])]) == whole == added(ones[::-1])
    assert whole.requests == len(ones)
    assert sum(whole.times.values()) == whole.requests - whole.errors


@given(st.lists(st.floats(1e-5, 1e4), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_true_to_five_percent(seconds: list[float], share: float) -> None:
    tally = added([of_one(one, failed=False) for one in seconds])
    found, exact = tally.quantile(share), sorted(seconds)[max(0, -int(-share * len(seconds) // 1) - 1)]
    assert found is not None
    assert exact / 1.06 < found < exact * 1.06


def test_of_nothing_there_is_no_quantile() -> None:
    assert Tally().quantile(0.5) is None
    assert Tally().error_rate == 0
    assert of_one(0.0, failed=False).quantile(0.5) is not None


@given(SLICED)
def test_slices_are_one_for_each_moment_and_lose_nothing(slices: list[Slice]) -> None:
    whole = merged(slices)
    assert [one.at for one in whole] == sorted({one.at for one in slices})
    assert added([one.first for one in whole]) == added([one.first for one in slices])
    assert merged(whole) == whole


def test_the_window_ends_where_it_is_said() -> None:
    now, window = 1_000_000.0, 60.0
    ages = [0, 30, 53, 67, 1000]
    slices = [Slice(at=slice_at(now - age, window)) for age in ages]
    assert recent(slices, now, window) == tuple(slices[:3])
    assert slice_at(now, window) - slice_at(now - window, window) == SLICES


@given(SLICED, st.integers(0, 20))
def test_what_is_further_back_than_the_window_is_one_and_nothing_is_lost(slices: list[Slice], now: int) -> None:
    found = compacted(slices, float(now), float(SLICES))
    within = recent(merged(slices), float(now), float(SLICES))
    assert recent(found, float(now), float(SLICES)) == within
    assert len(found) <= len(within) + 1
    for side in ("candidate", "first"):
        assert added([getattr(one, side) for one in found]) == added([getattr(one, side) for one in slices])
