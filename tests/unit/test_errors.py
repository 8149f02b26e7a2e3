"""Errors travel as problem documents and come back as themselves."""

from __future__ import annotations

import pytest

from penstock.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PenstockError,
    StaleFence,
    Unavailable,
    fault,
    from_problem,
    pointer,
)


def test_an_error_survives_the_journey() -> None:
    sent = InvalidInput("Two mistakes.", errors=[fault("/a", "Wrong.", allowed=["b"], given="bb")])
    back = from_problem(sent.problem("/x"), 422)
    assert isinstance(back, InvalidInput)
    assert (back.detail, back.errors) == (sent.detail, sent.errors)
    assert "Did you mean 'b'?" in str(back)


@pytest.mark.parametrize("kind", [NotFound, StaleFence, InvalidInput])
def test_every_kind_comes_back_as_its_kind(kind: type[PenstockError]) -> None:
    assert type(from_problem(kind("x").problem(), kind.status)) is kind


def test_a_document_of_an_unknown_kind_is_a_plain_error() -> None:
    assert type(from_problem({"type": "urn:penstock:problem:new", "title": "New"}, 418)) is PenstockError


def test_lookup_errors_are_caught_by_plain_python() -> None:
    with pytest.raises(LookupError):
        raise NotFound("x")


def test_pointers_escape() -> None:
    assert pointer("a/b", 0, "c~d") == "/a~1b/0/c~0d"


def test_what_is_too_long_for_a_name_was_not_misspelt() -> None:
    assert fault("/x", "no", allowed=["depth"], given="detph")["did_you_mean"] == "depth"
    assert "did_you_mean" not in fault("/x", "no", allowed=["d" * 400], given="d" * 399)


def test_a_kind_that_has_no_name_of_its_own_is_never_taken_for_the_one_that_has() -> None:
    class Elsewhere(Unavailable):
        def __init__(self) -> None:
            super().__init__("of another room")

    for kind in (Unavailable, Conflict):
        assert type(from_problem(kind("away").problem(), kind.status)) is kind
    assert type(from_problem({"type": "urn:penstock:problem:internal-error"}, 500)) is PenstockError
    assert Elsewhere().slug == "unavailable"
