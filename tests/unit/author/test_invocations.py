from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.author.invocations import InvocationIds
from penstock.errors import AuthoringError


def test_repeats_are_numbered_from_two() -> None:
    ids = InvocationIds()
    assert [ids.allocate("train") for _ in range(3)] == ["train", "train_2", "train_3"]
    assert ids.allocate("test") == "test"


def test_numbers_step_around_ids_that_were_asked_for() -> None:
    ids = InvocationIds()
    assert ids.allocate("train", "train_2") == "train_2"
    assert [ids.allocate("train") for _ in range(2)] == ["train", "train_3"]


@pytest.mark.parametrize("wanted", ["train", "mine"])
def test_an_id_is_given_once(wanted: str) -> None:
    ids = InvocationIds()
    ids.allocate("train")
    ids.allocate("other", "mine")
    with pytest.raises(AuthoringError, match=f"id='{wanted}' of step train: another invocation"):
        ids.allocate("train", wanted)


@pytest.mark.parametrize("wanted", ["", "a/b", " x", 3])
def test_an_id_must_fit_into_an_address(wanted: str) -> None:
    with pytest.raises(AuthoringError, match="cannot name an invocation"):
        InvocationIds().allocate("train", wanted)


@given(st.lists(st.tuples(st.sampled_from(["a", "a_2", "b"]), st.sampled_from([None, "a", "a_2", "a_3", "x"]))))
def test_ids_are_unique_and_the_same_calls_give_the_same_ids(calls: list[tuple[str, str | None]]) -> None:
    def all_of_them() -> list[str]:
        ids, given = InvocationIds(), []
        for name, wanted in calls:
            try:
                given.append(ids.allocate(name, wanted))
            except AuthoringError:
                assert wanted in given
        return given

    first = all_of_them()
    assert len(set(first)) == len(first)
    assert first == all_of_them()


def test_threads_never_get_the_same_id() -> None:
    ids = InvocationIds()
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: ids.allocate("step"), range(400)))
    assert len(set(given)) == 400
