"""Two JSON values side by side: where they differ, by pointer, with a tolerance for numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from penstock.errors import InvalidInput, fault, pointer, unescaped
from penstock.model.exact import Exact

MOST_DIFFERENCES = 50
"""Differences that are looked for in one pair; what has more is as different as can be told."""

ANY = "*"
"""In a pointer that says what to ignore, and in those that are counted: any one key or index."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Comparing(Exact):
    """What counts as a difference."""

    tolerance: float = 0.0
    """Numbers may differ by this share of the larger one."""

    absolute: float = 0.0
    """Or by this much."""

    ignore: tuple[str, ...] = ()
    """JSON pointers into the answer (`/outputs/...`): what stands there or below is not looked at. `*` is any key or index."""

    def __post_init__(self) -> None:
        for name in ("tolerance", "absolute"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                mistake = fault(pointer("comparing", name), f"{value!r} is no distance.")
                raise InvalidInput("A tolerance is 0 or more.", errors=[mistake])
        object.__setattr__(self, "ignore", tuple(self.ignore))
        for index, one in enumerate(self.ignore):
            if not one.startswith("/"):
                mistake = fault(pointer("comparing", "ignore", index), "A pointer begins with '/': /outputs/name.")
                raise InvalidInput(f"'{one}' is no JSON pointer.", errors=[mistake])


@dataclass(frozen=True, kw_only=True)
class Variance:
    """One place in which two answers differ. None may stand for something that one of them does not have: `note` says so."""

    pointer: str
    first: Any = None
    candidate: Any = None
    note: str | None = None

    @property
    def distance(self) -> float | None:
        """Of two numbers: how far they are apart, as a share of the larger one."""
        if not (_is_number(self.first) and _is_number(self.candidate)):
            return None
        try:
            return float(abs(self.first - self.candidate) / max(abs(self.first), abs(self.candidate)))
        except (ZeroDivisionError, OverflowError):
            return None


def variances(first: Any, candidate: Any, how: Comparing, at: Path = ()) -> list[tuple[Path, Variance]]:
    """Where the two differ, with the path of each place; at most `MOST_DIFFERENCES`, in order."""
    ignored = [tuple(_segments(one)) for one in how.ignore]
    return list(islice(_variances(first, candidate, how, at, ignored), MOST_DIFFERENCES))


def counted_as(path: Path) -> str:
    """The pointer under which a difference is counted: that of the first item of a list is that of all its items."""
    return pointer(*(ANY if isinstance(one, int) else one for one in path))


def _variances(
    first: Any, candidate: Any, how: Comparing, at: Path, ignored: list[tuple[str, ...]]
) -> Iterator[tuple[Path, Variance]]:
    if any(_covers(one, at) for one in ignored):
        return
    if isinstance(first, dict) and isinstance(candidate, dict):
        for key in [*first, *(one for one in candidate if one not in first)]:
            below = (*at, key)
            if key in first and key in candidate:
                yield from _variances(first[key], candidate[key], how, below, ignored)
            elif not any(_covers(one, below) for one in ignored):
                note = "only in the first" if key in first else "only in the candidate"
                yield _variance(below, first.get(key), candidate.get(key), note)
    elif isinstance(first, list) and isinstance(candidate, list):
        if len(first) != len(candidate):
            yield _variance(at, len(first), len(candidate), "numbers of items")
        for index, (one, other) in enumerate(zip(first, candidate, strict=False)):
            yield from _variances(one, other, how, (*at, index), ignored)
    elif not _alike(first, candidate, how):
        yield _variance(at, first, candidate)


def _variance(at: Path, first: Any, candidate: Any, note: str | None = None) -> tuple[Path, Variance]:
    return at, Variance(pointer=pointer(*at), first=first, candidate=candidate, note=note)


def _alike(first: Any, candidate: Any, how: Comparing) -> bool:
    """Whether two plain values are equal. 1 and 1.0 are, 1 and true are not."""
    if _is_number(first) and _is_number(candidate) and first != candidate:
        try:
            apart = abs(first - candidate)
            return bool(apart <= how.absolute or apart <= how.tolerance * max(abs(first), abs(candidate)))
        except OverflowError:  # a whole number that no float can be
            return False
    same = type(first) is type(candidate) or (_is_number(first) and _is_number(candidate))
    return same and bool(first == candidate)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _segments(text: str) -> list[str]:
    return [unescaped(one) for one in text.split("/")[1:]]


def _covers(pattern: tuple[str, ...], path: Path) -> bool:
    """Whether `pattern` means this place, or one above it."""
    return len(pattern) <= len(path) and all(one in (ANY, str(part)) for one, part in zip(pattern, path, strict=False))
