"""Two steps of arithmetic, to be served."""

from __future__ import annotations

from penstock import pipeline, step


@step
def square(number: int) -> int:
    """One multiplication."""
    return number * number


@step
def plus(value: int, more: int) -> int:
    """One addition."""
    return value + more


@pipeline
def two_steps(number: int, more: int = 1) -> int:
    """The square and one."""
    return plus(square(number), more)
