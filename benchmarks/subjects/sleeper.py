"""A step that holds its place for as long as one likes."""

from __future__ import annotations

import time

from penstock import pipeline, step


@step
def sleep(seconds: float) -> float:
    """Do nothing."""
    time.sleep(seconds)
    return seconds


@pipeline
def sleeper(seconds: float = 3600.0) -> float:
    """A run of one step."""
    result: float = sleep(seconds)
    return result
