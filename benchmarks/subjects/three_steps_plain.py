"""The yardstick of `three_steps.py`: the same arithmetic, and nothing of it kept."""

from __future__ import annotations


def load(rows: int) -> list[int]:
    """The numbers from 0."""
    return list(range(rows))


def square(numbers: list[int]) -> list[int]:
    """Their squares."""
    return [number * number for number in numbers]


def total(numbers: list[int]) -> int:
    """Their sum."""
    return sum(numbers)


if __name__ == "__main__":
    print(total(square(load(1000))))
