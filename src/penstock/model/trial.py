"""A trial: what a deployment may serve next is tried beside it, on copies of its requests or on a share of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from penstock.errors import InvalidInput, fault, pointer
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.exact import Exact
from penstock.model.likeness import Comparing, Variance
from penstock.model.tally import Slice, Tally, merged, recent

Kind = Literal["mirror", "canary"]

MIRROR_OF = "penstock-mirror-of"
"""Header under which a candidate is told of which run its request is a copy."""

STICKY_KEY = "penstock-sticky-key"
"""Header of a caller who wants the same snapshot each time."""

SNAPSHOT = "penstock-snapshot"
"""Header of answers during a canary: the id of the snapshot that has answered."""

MOST_POINTERS, MOST_EXAMPLES, MOST_PROCESSES = 100, 20, 1000
OTHERS = "others"
"""Under this name differences are counted at places for which there is no room."""


class TrialState(StrEnum):
    """How it stands with a trial."""

    STARTING = "starting"
    """The candidate is coming up; nothing is sent to it."""

    RUNNING = "running"
    ERROR = "error"
    """The candidate does not come up, or not any more, and the reason says why; what serves answers everything."""

    PROMOTING = "promoting"
    """The candidate is becoming the deployment's next revision, and takes its share until that serves."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    """It was ended by its rule."""

    ABORTED = "aborted"
    SUPERSEDED = "superseded"
    """The deployment was changed, taken down or deleted meanwhile."""


ENDED = frozenset(
    {TrialState.PROMOTED, TrialState.ROLLED_BACK, TrialState.ABORTED, TrialState.SUPERSEDED},
)


@dataclass(frozen=True, kw_only=True)
class Rule(Exact):
    """When a canary is rolled back by itself."""

    max_error_rate: float = 0.05
    """The share of its requests that may fail, beyond the share that fails on what served before."""

    min_requests: int = 20
    """Requests of the candidate in the window without which nothing is decided."""

    window: float = 60.0
    """Seconds that are looked back."""

    max_slowdown: float | None = None
    """How many times as long as before its requests may take, in the median. None: as long as they like."""

    def __post_init__(self) -> None:
        wrong = {
            "max_error_rate": "It is a share, from 0 to 1." if not 0 <= self.max_error_rate <= 1 else None,
            "min_requests": "It is 1 or more." if self.min_requests < 1 else None,
            "window": "It is from 1 second to a day." if not 1 <= self.window <= 86400 else None,
            "max_slowdown": "It is more than 1."
            if self.max_slowdown is not None and not (self.max_slowdown > 1 and math.isfinite(self.max_slowdown))
            else None,
        }
        faults = [fault(pointer("rule", name), message) for name, message in wrong.items() if message is not None]
        if faults:
            raise InvalidInput("The rule of this canary is not right.", errors=faults)


def verdict(rule: Rule, slices: Iterable[Slice]) -> str | None:
    """Why the candidate is to be stopped, by what happened in the window; None if it may go on."""
    candidate, first = Tally(), Tally()
    for one in slices:
        candidate, first = candidate.plus(one.candidate), first.plus(one.first)
    if candidate.requests < rule.min_requests:
        return None
    if candidate.error_rate > rule.max_error_rate + first.error_rate:
        return (
            f"{candidate.errors} of {candidate.requests} requests to the candidate failed ({candidate.error_rate:.1%}), "
            f"and {first.errors} of {first.requests} to what served before: more than {rule.max_error_rate:.1%} beyond that."
        )
    if rule.max_slowdown is None or first.requests < rule.min_requests:
        return None
    slow, usual = candidate.quantile(0.5), first.quantile(0.5)
    if slow is not None and usual is not None and slow > rule.max_slowdown * usual:
        return (
            f"Half of {candidate.requests} requests to the candidate took more than {slow:.3g} s, where what served before "
            f"took {usual:.3g} s: more than {rule.max_slowdown:g} times as long."
        )
    return None


def chosen(trial_id: str, share: float, key: str | None, chance: float) -> bool:
    """Whether the candidate has this request. A key decides the same way each time, and stays chosen when the share grows.

    Without a key `chance` decides: a random number from 0 up to 1.
    """
    if key is None:
        return chance < share
    drawn = hashlib.blake2b(key.encode(), key=trial_id.encode()[:64], digest_size=8).digest()
    return int.from_bytes(drawn, "big") < share * 2**64


@dataclass(frozen=True, kw_only=True)
class Place:
    """How often answers differ in one place."""

    count: int = 0
    largest: float | None = None
    """Of numbers: the largest distance, as a share of the larger one."""

    def plus(self, other: Place) -> Place:
        """Both."""
        known = [one for one in (self.largest, other.largest) if one is not None]
        return Place(count=self.count + other.count, largest=max(known, default=None))


@dataclass(frozen=True, kw_only=True)
class Example:
    """A pair of answers that differ. Each side's run is in the record, unless its sampling left it out."""

    at: datetime
    run_id: str | None = None
    """Of what served. None: the request was refused before it was one."""

    candidate_run_id: str | None = None
    status: int
    candidate_status: int
    variances: tuple[Variance, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """What happened in one process of a deployment since it told last."""

    slices: tuple[Slice, ...] = ()
    compared: int = 0
    different: int = 0
    dropped: int = 0
    """Copies that were not sent, because too many waited."""

    unreachable: int = 0
    """Requests, or copies, for which the candidate could not be reached, was not ready or had too much to do."""

    refused: int = 0
    """Requests that the candidate refused, and what served before carried out."""

    places: dict[str, Place] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()

    def plus(self, other: Part) -> Part:
        """Both; of examples the newest, of places those that were there first."""
        return Part(
            slices=merged((*self.slices, *other.slices)),
            compared=self.compared + other.compared,
            different=self.different + other.different,
            dropped=self.dropped + other.dropped,
            unreachable=self.unreachable + other.unreachable,
            refused=self.refused + other.refused,
            places=_together(self.places, other.places),
            examples=(*self.examples, *other.examples)[-MOST_EXAMPLES:],
        )


def _together(places: Mapping[str, Place], more: Mapping[str, Place]) -> dict[str, Place]:
    found = dict(places)
    for name, place in more.items():
        known = name if name in found or len(found) < MOST_POINTERS else OTHERS
        found[known] = found.get(known, Place()).plus(place)
    return found


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All parts of a trial, added up."""

    candidate: Tally = field(default_factory=Tally)
    first: Tally = field(default_factory=Tally)
    total: Part = field(default_factory=Part)
    """Its slices are those of the window only."""

    processes: dict[str, int] = field(default_factory=dict)
    """The number of the last part of each process, the latest at the end: what is told again is known."""


def with_part(figures: Figures, process: str, number: int, part: Part, *, at: float, window: float) -> Figures:
    """The figures with what a process tells under this number; unchanged if it has told that before."""
    if figures.processes.get(process, 0) >= number:
        return figures
    candidate, first = figures.candidate, figures.first
    for one in part.slices:
        candidate, first = candidate.plus(one.candidate), first.plus(one.first)
    both = figures.total.plus(part)
    processes = {name: told for name, told in figures.processes.items() if name != process} | {process: number}
    while len(processes) > MOST_PROCESSES:
        del processes[next(iter(processes))]
    total = replace(both, slices=recent(both.slices, at, window))
    return Figures(candidate=candidate, first=first, total=total, processes=processes)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The record of a trial."""

    id: str
    deployment_id: str
    kind: Kind
    snapshot_id: str
    """The candidate."""

    settings: DeploymentSettings = field(default_factory=DeploymentSettings)
    share: float
    revision: int
    """What the deployment served when it began."""

    rule: Rule | None = None
    """Of a canary."""

    comparing: Comparing | None = None
    """Of a mirror."""

    state: TrialState = TrialState.RUNNING
    reason: str | None = None
    companion_id: str
    """The deployment that serves the candidate for as long as the trial goes on."""

    promoted_to: int | None = None
    """The revision that the candidate has become, or is becoming."""

    created: datetime
    updated: datetime
    ended: datetime | None = None

    @property
    def window(self) -> float:
        """Seconds that are looked back."""
        return (self.rule or Rule()).window


@dataclass(frozen=True, kw_only=True)
class Side:
    """The requests of one side. Times are in seconds, of those that went well."""

    requests: int
    errors: int
    error_rate: float
    p50: float | None = None
    p95: float | None = None


def side(tally: Tally) -> Side:
    """What is told of a tally."""
    return Side(
        requests=tally.requests,
        errors=tally.errors,
        error_rate=tally.error_rate,
        p50=tally.quantile(0.5),
        p95=tally.quantile(0.95),
    )


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """A trial with what has come of it so far."""

    trial: Trial
    first: Side
    candidate: Side
    compared: int = 0
    different: int = 0
    share_different: float = 0.0
    dropped: int = 0
    unreachable: int = 0
    refused: int = 0
    places: dict[str, Place] = field(default_factory=dict)
    """JSON pointer -> how often answers differ there; `*` stands for every index of a list."""

    examples: tuple[Example, ...] = ()
    """The latest pairs that differ."""


def report(trial: Trial, figures: Figures) -> TrialReport:
    """What is told of a trial."""
    total = figures.total
    return TrialReport(
        trial=trial,
        first=side(figures.first),
        candidate=side(figures.candidate),
        compared=total.compared,
        different=total.different,
        share_different=total.different / total.compared if total.compared else 0.0,
        dropped=total.dropped,
        unreachable=total.unreachable,
        refused=total.refused,
        places=dict(sorted(total.places.items(), key=lambda one: -one[1].count)),
        examples=total.examples,
    )


@dataclass(frozen=True, kw_only=True)
class Seat:
    """For whom a companion answers."""

    deployment_id: str
    deployment_name: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class TrialWord:
    """What a process of a deployment tells of a trial, and asks: what to do from now on."""

    process: str
    revision: int
    number: int = 0
    """Counts what it tells, so that nothing is counted twice."""

    trial_id: str | None = None
    part: Part | None = None
    stopped: str | None = None
    """Why it has stopped sending requests to the candidate."""


@dataclass(frozen=True, kw_only=True)
class TrialOrder:
    """What a process of a deployment is to do. The key opens the companion for it, and nothing else."""

    trial_id: str
    kind: Kind
    share: float
    snapshot_id: str
    url: str
    path: str
    """Of `/invoke` there."""

    ready_path: str
    key: str
    timeout: float
    rule: Rule | None = None
    comparing: Comparing | None = None


@dataclass(frozen=True, kw_only=True)
class TrialOrders:
    """The answer to a word; nothing is to be tried if there is no order."""

    order: TrialOrder | None = None


def check_share(share: Any, at: str = "share") -> float:
    """`share` if it is one. Raises `InvalidInput`."""
    if not 0 <= share <= 1:
        mistake = fault(pointer(at), "It is from 0 to 1.")
        raise InvalidInput(f"{share!r} is no share of the requests.", errors=[mistake])
    return float(share)
