"""A run of ever so many steps that wait for one another, all of them taken from the cache: the first run fills it."""

from __future__ import annotations

import json
import sys
import time

from penstock import Client, pipeline, step


@step(enable_cache=True)
def increment(number: int) -> int:
    """Do next to nothing."""
    return number + 1


@pipeline
def cached(steps: int, start: int) -> int:
    """Count up, one step at a time."""
    number = start
    for _ in range(steps):
        number = increment(number)
    return number


def seconds(steps: int, start: int) -> float:
    """What the second of two equal runs takes."""
    cached(steps=steps, start=start)
    begun = time.monotonic()
    run = cached(steps=steps, start=start)
    took = time.monotonic() - begun
    if run.outputs != {"output": start + steps}:
        sys.exit(f"{steps} steps from {start} gave {run.outputs}")
    states = {one.state for one in Client().runs.steps(run.id)}
    if states != {"cached"}:
        sys.exit(f"the steps of the second run are {states}")
    return took


if __name__ == "__main__":
    few, many, start = map(int, sys.argv[1:])
    seconds(1, start)  # what is loaded and connected once
    print(json.dumps([seconds(few, start + 1_000), seconds(many, start + 100_000)]))
