"""As many steps as one likes, each waiting for the one before, each with a value that was never there before."""

from __future__ import annotations

import json
import sys
import time

from penstock import Client, pipeline, step


@step
def increment(number: int) -> int:
    """The next number."""
    return number + 1


@pipeline
def chain(steps: int = 1, start: int = 0) -> int:
    """The number that comes `steps` after `start`."""
    number = start
    for _ in range(steps):
        number = increment(number)
    return number


def seconds(steps: int, start: int) -> float:
    """How long the call of the pipeline takes; all of its values must have been kept."""
    begun = time.perf_counter()
    run = chain(steps=steps, start=start)
    ended = time.perf_counter()
    kept = Client().artifacts.list(run_id=run.id).total
    if (run.outputs["output"], kept) != (start + steps, steps):
        raise SystemExit(f"{steps} steps from {start} gave {run.outputs} and {kept} artifacts")
    return ended - begun


if __name__ == "__main__":
    few, many, first = map(int, sys.argv[1:])
    seconds(1, first)  # what is loaded and connected once
    print(json.dumps([seconds(few, first + few), seconds(many, first + few + many)]))
