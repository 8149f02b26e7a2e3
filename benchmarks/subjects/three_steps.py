"""Three steps as a user writes them: defined and run in one go."""

from __future__ import annotations

from penstock import pipeline, step


@step
def load(rows: int) -> list[int]:
    """The numbers from 0."""
    return list(range(rows))


@step
def square(numbers: list[int]) -> list[int]:
    """Their squares."""
    return [number * number for number in numbers]


@step
def total(numbers: list[int]) -> int:
    """Their sum."""
    return sum(numbers)


@pipeline
def three_steps(rows: int = 1000) -> int:
    """The sum of the first squares."""
    result: int = total(square(load(rows)))
    return result


if __name__ == "__main__":
    print(three_steps().outputs["output"])
