"""Identifiers and names."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.errors import InvalidInput
from penstock.ids import check_name, digest_of, id_from_digest, is_digest, is_id, new_id


def test_ids_are_version_7_and_carry_the_time() -> None:
    before = time.time_ns() // 1_000_000
    parsed = uuid.UUID(new_id())
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert before <= parsed.int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_ids_of_many_threads_are_distinct_and_those_of_one_rise() -> None:
    with ThreadPoolExecutor(8) as pool:
        lists = list(pool.map(lambda _: [new_id() for _ in range(500)], range(8)))
    assert all(ids == sorted(ids) for ids in lists)
    assert len({one for ids in lists for one in ids}) == 4000


def test_an_id_from_a_digest_is_version_8() -> None:
    made = uuid.UUID(id_from_digest(digest_of(b"x")))
    assert made.version == 8
    assert is_id(str(made))
    assert is_digest(digest_of(b"x"))


@pytest.mark.parametrize("name", ["train", "daily-retraining", "a", "v1.2", "model a", "_x", "C++"])
def test_names_that_are_names(name: str) -> None:
    assert check_name(name, what="thing") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        "../x",
        "a/b",
        "a\nb",
        "a\x00b",
        " a",
        "a ",
        "x" * 129,
        "\u202eabc",
        "a@v1",
        "%2e%2e",
        "01a2182b-f35e-7118-a7db-8dc280a79bf8",
    ],
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name(name, what="thing", at="/name")
    assert caught.value.errors[0]["pointer"] == "/name"
