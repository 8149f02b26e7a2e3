"""One invocation of a step on its way through a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.author.step import Step
from penstock.runtime.step import Call


@dataclass(slots=True)
class Task:
    """One invocation on its way: what it waits for, and how it ended. Changed only under the engine's lock."""

    call: Call
    upstream: frozenset[str]
    waiting: set[str]
    waiters: list[Task] = field(default_factory=list)
    ended: bool = False
    error: BaseException | None = None


def _done() -> None:
    """Stands for the function of a step that has ended: nobody calls it."""


COMPLETED = Task(Call("", Step(_done), {}), frozenset(), set(), ended=True)
"""Stands for every invocation that completed, and for what the pipeline was given: there is nothing to remember but its results."""
