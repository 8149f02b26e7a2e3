"""Runs of ever so many steps, one after the other in one process: what each takes, and what the process holds at its most."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import chain

SUBJECTS: dict[str, Callable[[int, int], float]] = {"chain": chain.seconds}
"""Name -> what runs so many steps from a first value that was never there, checks the result, and gives the seconds."""


def peak() -> float:
    """MiB that this process has held at its most."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    subject, first, *counts = sys.argv[1:]
    run, start = SUBJECTS[subject], int(first)
    run(1, start)  # what is loaded and connected once
    taken = []
    for count in map(int, counts):
        start += 1_000_000
        taken.append(run(count, start))
    print(json.dumps({"seconds": taken, "peak": peak()}))
