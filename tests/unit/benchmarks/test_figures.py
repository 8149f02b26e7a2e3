from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Aim, Figure, slope


def figure(ours: list[float], yardstick: list[float], aim: Aim | None = None) -> Figure:
    return Figure(what="a thing", ours=ours, against="another", yardstick=yardstick, aim=aim)


def test_one_slow_sample_does_not_move_the_figure() -> None:
    found = figure([0.2, 0.1, 9.0], [0.1, 0.05, 0.05])
    assert found.median == 0.2
    assert found.ratio == pytest.approx(4)


@pytest.mark.parametrize(
    ("aim", "reached"),
    [(Aim(0.2), True), (Aim(0.19), False), (Aim(4, times=True), True), (Aim(3.9, times=True), False), (None, None)],
)
def test_an_aim_is_reached_at_its_very_figure(aim: Aim | None, reached: bool | None) -> None:
    assert figure([0.2], [0.05], aim).reached is reached


@given(
    once=st.integers(0, 10**6),
    each=st.integers(0, 10**6),
    few=st.integers(0, 100),
    further=st.integers(1, 1000),
)
def test_a_slope_is_free_of_what_is_paid_once(once: int, each: int, few: int, further: int) -> None:
    assert slope(once + each * few, once + each * (few + further), further) == each
