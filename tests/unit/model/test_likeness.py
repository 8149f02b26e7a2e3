from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.model.likeness import MOST_DIFFERENCES, Comparing, Variance, counted_as, variances

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def places(first: Any, candidate: Any, **how: Any) -> list[str]:
    return [one.pointer for _, one in variances(first, candidate, Comparing(**how), ("outputs",))]


@given(VALUES)
def test_a_value_is_like_itself(value: Any) -> None:
    assert places(value, copy.deepcopy(value)) == []


@given(VALUES, VALUES)
def test_both_ways_the_same_places_differ(one: Any, other: Any) -> None:
    there, back = places(one, other), places(other, one)
    assert len(there) == len(back) <= MOST_DIFFERENCES
    if len(there) < MOST_DIFFERENCES:
        assert sorted(there) == sorted(back)


@given(st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=4), st.data())
def test_a_planted_difference_is_found_and_nothing_else(value: dict[str, Any], data: st.DataObject) -> None:
    changed = copy.deepcopy(value)
    key = data.draw(st.sampled_from(sorted(value)))
    changed[key] = {"planted": 1}
    if value[key] == changed[key]:
        return
    [(path, found)] = variances(value, changed, Comparing(), ())[:1]
    assert path[0] == key
    assert found.pointer.startswith("/")
    assert {path[0] for path, _ in variances(value, changed, Comparing(), ())} == {key}


def test_each_kind_of_difference_has_its_place() -> None:
    first = {"a": [1, {"b": 2}], "gone": 1, "kind": True, "text": "x"}
    candidate = {"a": [1, {"b": 3}, 4], "new": 1, "kind": 1, "text": None}
    assert places(first, candidate) == [
        "/outputs/a",
        "/outputs/a/1/b",
        "/outputs/gone",
        "/outputs/kind",
        "/outputs/text",
        "/outputs/new",
    ]
    assert places(1, 1.0) == []
    assert places({"a/b": 1}, {"a/b": 2}) == ["/outputs/a~1b"]
    assert [counted_as(path) for path, _ in variances([[1]], [[2]], Comparing(), ("outputs",))] == ["/outputs/*/*"]


def test_numbers_may_differ_by_as_much_as_is_said() -> None:
    assert places(100.0, 101.0, tolerance=0.02) == []
    assert places(100.0, 103.0, tolerance=0.02) == ["/outputs"]
    assert places(0.0, 0.001, tolerance=0.5) == ["/outputs"]
    assert places(0.0, 0.001, absolute=0.01) == []
    assert places(10**400, 1.5) == ["/outputs"]
    assert Variance(pointer="", first=10**400, candidate=1.5).distance is None
    assert Variance(pointer="", first=4, candidate=3).distance == 0.25
    assert Variance(pointer="", first=0, candidate=0.0).distance is None


def test_what_is_ignored_is_not_looked_at() -> None:
    first, candidate = {"at": 1, "rows": [{"id": 1, "x": 1}]}, {"rows": [{"id": 2, "x": 2}], "more": 1}
    assert places(first, candidate, ignore=("/outputs/at", "/outputs/rows/*/id", "/outputs/more")) == [
        "/outputs/rows/0/x"
    ]
    assert places(first, candidate, ignore=("/outputs",)) == []


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"tolerance": -1}, "/comparing/tolerance"),
        ({"absolute": float("nan")}, "/comparing/absolute"),
        ({"ignore": ["/a", "b"]}, "/comparing/ignore/1"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Comparing(**said)
    assert refused.value.errors[0]["pointer"] == where
