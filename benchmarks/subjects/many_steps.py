"""Runs of ever so many steps, one after the other in one process: what each takes, and what the process holds at its most.

What runs them is another subject, whose `seconds(steps, start)` gives the seconds of a run with values that follow `start`,
and ends the process if its result is not right.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def peak() -> float:
    """MiB that this process has held at its most."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    subject, first, *counts = sys.argv[1:]
    seconds, start = importlib.import_module(subject).seconds, int(first)
    seconds(1, start)  # what is loaded and connected once
    taken = []
    for count in map(int, counts):
        start += 1_000_000  # every value is new to the artifact store
        taken.append(seconds(count, start))
    print(json.dumps({"seconds": taken, "peak": peak()}))
