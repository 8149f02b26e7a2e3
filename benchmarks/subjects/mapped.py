"""A step that is mapped over a list of ever so many items."""

from __future__ import annotations

import sys
import time

from penstock import pipeline, step


@step
def double(number: int) -> int:
    """Do next to nothing."""
    return 2 * number


@step
def total(numbers: list[int]) -> int:
    """Have all of them."""
    return sum(numbers)


@pipeline
def mapped(items: int, start: int) -> int:
    """Map, and gather."""
    return total(double.map(list(range(start, start + items))))


def seconds(steps: int, start: int) -> float:
    """What a run over so many items takes."""
    begun = time.monotonic()
    run = mapped(items=steps, start=start)
    took = time.monotonic() - begun
    if run.outputs != {"output": 2 * sum(range(start, start + steps))}:
        sys.exit(f"{steps} items from {start} gave {run.outputs}")
    return took
