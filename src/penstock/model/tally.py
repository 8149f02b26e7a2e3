"""Requests counted: how many, how many failed, how long they took; in numbers that can be added up over processes and times."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

SLICES = 10
"""Parts of the window of a rule; its oldest one is forgotten as a whole."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Requests of one side, and how they ended. Tallies of any times and processes can be added up."""

    requests: int = 0
    errors: int = 0
    """Requests that failed, and not through what the caller gave."""

    times: dict[int, int] = field(default_factory=dict)
    """How long those that went well took: number of a bucket -> how many. Each bucket is 9 % wider than the one before."""

    @property
    def error_rate(self) -> float:
        """The share that failed."""
        return self.errors / self.requests if self.requests else 0.0

    def plus(self, other: Tally) -> Tally:
        """Both."""
        times = dict(self.times)
        for bucket, count in other.times.items():
            times[bucket] = times.get(bucket, 0) + count
        return Tally(requests=self.requests + other.requests, errors=self.errors + other.errors, times=times)

    def quantile(self, share: float) -> float | None:
        """Seconds within which this share of those that went well was done, to about 5 %; None if there are none."""
        wanted = share * sum(self.times.values())
        seen = 0
        for bucket in sorted(self.times):
            seen += self.times[bucket]
            if seen >= wanted:
                return float(2 ** ((bucket + 0.5) / 8))
        return None


def of_one(seconds: float, *, failed: bool) -> Tally:
    """The tally of one request."""
    if failed:
        return Tally(requests=1, errors=1)
    return Tally(requests=1, times={math.floor(8 * math.log2(max(seconds, 1e-6))): 1})


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What happened in one part of the window: `at` counts parts since 1970."""

    at: int
    candidate: Tally = field(default_factory=Tally)
    first: Tally = field(default_factory=Tally)

    def plus(self, other: Slice) -> Slice:
        """Both, of one part."""
        return Slice(at=self.at, candidate=self.candidate.plus(other.candidate), first=self.first.plus(other.first))


def slice_at(now: float, window: float) -> int:
    """The part of a window that this moment (seconds since 1970) is in."""
    return math.floor(now * SLICES / window)


def add(slices: dict[int, Slice], one: Slice) -> None:
    """Count this in."""
    known = slices.get(one.at)
    slices[one.at] = one if known is None else known.plus(one)


def merged(slices: Iterable[Slice]) -> tuple[Slice, ...]:
    """The same with one for each moment, in order."""
    found: dict[int, Slice] = {}
    for one in slices:
        add(found, one)
    return tuple(found[at] for at in sorted(found))


def recent(slices: Iterable[Slice], now: float, window: float) -> tuple[Slice, ...]:
    """Those that are not further back than the window."""
    oldest = slice_at(now, window) - SLICES
    return tuple(one for one in slices if one.at > oldest)


def compacted(slices: Iterable[Slice], now: float, window: float) -> tuple[Slice, ...]:
    """The same with one for all that are further back than the window: of these only the sum is asked for."""
    known = merged(slices)
    within = recent(known, now, window)
    before = known[: len(known) - len(within)]
    if not before:
        return within
    last = before[-1].at
    return merged((*(replace(one, at=last) for one in before), *within))
