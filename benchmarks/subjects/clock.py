"""One step that says when its first line ran, on the clock that all processes of a machine share."""

from __future__ import annotations

import time

from penstock import pipeline, step


@step
def square(number: int) -> dict[str, float]:
    """The square, and the time of the first line."""
    at = time.monotonic()
    return {"at": at, "square": number * number}


@pipeline
def clock(number: int) -> dict[str, float]:
    """A run of one step."""
    result: dict[str, float] = square(number)
    return result
