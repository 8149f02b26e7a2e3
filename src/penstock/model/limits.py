"""The limits of a run template, and the order in which waiting runs get their turn. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from penstock.errors import InvalidInput, fault
from penstock.model.exact import Exact

AGING = 60.0
"""Seconds of waiting that one point of priority is worth."""

HIGHEST = 100
"""Priorities go from -HIGHEST to HIGHEST."""

_PARAMETER = re.compile(r"parameters\.([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, kw_only=True)
class Rate(Exact):
    """At most `limit` runs in any `per` seconds: one more is refused and told when to come back, or waits for so long."""

    limit: int
    per: float
    mode: Literal["refuse", "delay"] = "refuse"

    def __post_init__(self) -> None:
        _at_least_one("limit", self.limit)
        if self.per <= 0:
            raise _refuse("per", f"{self.per!r} s is no time.")


@dataclass(frozen=True, kw_only=True)
class Debounce(Exact):
    """A run waits `delay` seconds; another one that comes meanwhile takes its place and waits anew, `most` seconds in all."""

    delay: float
    most: float | None = None

    def __post_init__(self) -> None:
        if self.delay <= 0:
            raise _refuse("delay", f"{self.delay!r} s is no time.")
        if self.most is not None and self.most < self.delay:
            raise _refuse("most", f"{self.most!r} s is less than the delay.")

    def until(self, now: datetime, since: datetime) -> datetime:
        """Until when a run waits that comes now, where the first one of those that it outdoes came at `since`."""
        end = now + timedelta(seconds=self.delay)
        return end if self.most is None else min(end, since + timedelta(seconds=self.most))


@dataclass(frozen=True, kw_only=True)
class Limits(Exact):
    """How much of a template may go on. What is None is not limited."""

    concurrency: int | None = None
    """So many runs are carried out at once; further ones wait."""

    concurrency_key: str | None = None
    """`parameters.NAME` or `account`: all but `rate` holds for each value of it, not for all together."""

    queue: int | None = None
    """So many runs may wait; one more is refused."""

    rate: Rate | None = None
    singleton: Literal["join", "refuse"] | None = None
    """While a run waits or goes on there is no other: one that wants the same joins it, or is refused; any other is refused."""

    debounce: Debounce | None = None

    def __post_init__(self) -> None:
        _at_least_one("concurrency", self.concurrency)
        _at_least_one("queue", self.queue)
        key = self.concurrency_key
        if key is not None and key != "account" and not _PARAMETER.fullmatch(key):
            raise _refuse("concurrency_key", f"{key!r} names no part of the input.", ("account", "parameters.NAME"))

    @property
    def parameter(self) -> str | None:
        """The parameter that `concurrency_key` names."""
        named = _PARAMETER.fullmatch(self.concurrency_key or "")
        return named[1] if named else None


def said(limits: Limits) -> dict[str, Any]:
    """The limits as a mapping, without what they leave open."""
    given = {one.name: getattr(limits, one.name) for one in fields(limits)}
    for name in ("rate", "debounce"):
        part = given[name]
        if part is not None:
            members = ((one.name, getattr(part, one.name), one.default) for one in fields(part))
            given[name] = {member: value for member, value, default in members if value != default}
    return {name: value for name, value in given.items() if value is not None}


def check_priority(priority: int | None) -> None:
    """Raises `InvalidInput` for a priority that is none."""
    if priority is not None and not -HIGHEST <= priority <= HIGHEST:
        raise _refuse("priority", f"{priority} is not from {-HIGHEST} to {HIGHEST}.")


def turn(created: datetime, priority: int | None) -> datetime:
    """What waiting runs are ordered by: the time of their creation, `AGING` seconds earlier for each point of priority.

    So a run of priority 5 overtakes what was queued in the five minutes before it, and nothing older: whatever waits
    is overtaken for a bounded time only, and gets its turn.
    """
    return created - timedelta(seconds=AGING * (priority or 0))


@dataclass(frozen=True, kw_only=True)
class Lane:
    """Waiting runs that share one limit: of a template, or of one value of its key. Only the first ones matter.

    `head` is the turn of the first, `created` its creation; `served` is when a run of the lane was claimed last.
    """

    key: str
    waiting: int
    active: int
    head: datetime
    created: datetime
    limit: int | None = None
    served: datetime | None = None

    @property
    def blocked(self) -> bool:
        """Whether no run of it may be claimed now."""
        return self.waiting < 1 or (self.limit is not None and self.active >= self.limit)

    @property
    def rank(self) -> datetime:
        """Which lane is next: the one that has gone without for longest, a point of priority counting as `AGING` s."""
        if self.served is None or self.served <= self.created:
            return self.head
        return self.head + (self.served - self.created)


def share(lanes: Iterable[Lane], free: int, at: datetime) -> list[str]:
    """Which lanes the next `free` slots go to, in order; fewer if not so many runs may start.

    Lanes take turns, so that a long one delays a short one by one run, not by all of its runs. A blocked lane is passed
    over and delays nobody.
    """
    left = {lane.key: lane for lane in lanes if not lane.blocked}
    given: list[str] = []
    while left and len(given) < free:
        lane = min(left.values(), key=lambda one: (one.rank, one.key))
        given.append(lane.key)
        served = at + timedelta(microseconds=len(given))
        lane = replace(lane, waiting=lane.waiting - 1, active=lane.active + 1, served=served)
        left[lane.key] = lane
        if lane.blocked:
            del left[lane.key]
    return given


def _at_least_one(name: str, given: int | None) -> None:
    if given is not None and given < 1:
        raise _refuse(name, f"{given} is not 1 or more; leave it out for no limit.")


def _refuse(name: str, message: str, allowed: tuple[str, ...] = ()) -> InvalidInput:
    return InvalidInput(message, errors=[fault(f"/{name}", message, allowed=allowed)])
