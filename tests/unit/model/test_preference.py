"""What callers prefer."""

from __future__ import annotations

import pytest

from penstock.model.preference import LONGEST_WAIT, preferred_wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("wait=5", 5),
        ("respond-async, wait=2.5", 2.5),
        ("wait=999999", LONGEST_WAIT),
        ("wait=-1", 0),
        ("wait=5x", 0),
        ("await=5", 0),
        ("wait=", 0),
    ],
)
def test_seconds_are_read_within_bounds(header: str, seconds: float) -> None:
    assert preferred_wait(header) == seconds
