"""Request bodies: what is given is taken as it is."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from penstock.server.bodies import Moment, Strict


class Body(Strict):
    flag: bool = False
    count: int | None = None
    share: float = 0.0
    either: int | str = 0


@pytest.mark.parametrize("given", [{"flag": True}, {"count": 1}, {"count": None}, {"share": 1}, {"either": "1"}])
def test_what_fits_is_taken(given: dict[str, object]) -> None:
    assert Body(**given).model_dump(include=set(given)) == given  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        {"flag": 1},
        {"flag": "yes"},
        {"flag": None},
        {"count": "1"},
        {"count": True},
        {"share": "1"},
        {"share": False},
        {"other": 1},
    ],
)
def test_what_only_looks_like_it_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Body(**given)  # type: ignore[arg-type]


class Times(Strict):
    at: Moment | None = None


@pytest.mark.parametrize("given", [None, "2026-01-31T00:00:00Z", "2026-01-31 01:02:03.5+01:00"])
def test_times_with_their_zone_are_taken(given: object) -> None:
    assert (Times(at=given).at is None) is (given is None)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [0, 0.5, True, "0.5", "1767225600", "2026-01-31", "2026-01-31T00:00:00", "soon", ""])
def test_other_times_are_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        Times(at=given)  # type: ignore[arg-type]
