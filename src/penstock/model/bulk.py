"""The same thing done to many runs: what became of each."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.model.run import RunState


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of one run. `run_id` and `state` are those of the new run where one was started."""

    name: str
    run_id: str | None = None
    state: RunState | None = None
    problem: str | None = None
    """Why nothing was done."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was done, or would be."""

    dry_run: bool
    matched: int
    """So many runs fit. More than `items` if there are more than one request changes."""

    items: tuple[Done, ...]
    next: str | None = None
    """Where to go on, if there are more than one request changes."""
