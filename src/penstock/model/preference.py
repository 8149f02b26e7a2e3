"""What a caller prefers (RFC 7240): to wait for the end of a run, within bounds."""

from __future__ import annotations

import re

LONGEST_WAIT = 300.0
"""Seconds for which one request waits at most, whatever `Prefer: wait` asks for."""

_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6}(?:\.\d{1,3})?)(?=$|[,;\s])")


def preferred_wait(prefer: str) -> float:
    """Seconds that the header `Prefer` asks for with `wait=N`, within bounds; 0 without it."""
    match = _WAIT.search(prefer)
    return min(float(match[1]), LONGEST_WAIT) if match else 0.0
