"""Request bodies: what is given is taken as it is."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from penstock.server.bodies import Strict


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
