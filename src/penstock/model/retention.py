"""What is kept for how long, and what a sweep removes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Swept:
    """How much a sweep has removed, or would remove: runs, runs whose logs or history go, and rows of other kinds."""

    runs: int
    logs: int
    events: int
    decisions: int
    idempotency_keys: int
    callbacks: int
    code_archives: int
    dry_run: bool
