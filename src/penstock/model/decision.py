"""A decision: what became of one attempt to start a run, whoever made it. Nothing ever just did not run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from penstock.model.cost import Cost


class Verdict(StrEnum):
    """What became of an attempt."""

    STARTED = "started"
    JOINED = "joined"
    REPLAYED = "replayed"
    REPLACED = "replaced"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The record of one attempt. It holds no values that were given: those that were taken stand in the run."""

    id: str
    at: datetime
    verdict: Verdict
    target: str
    """What was named, in the words of whoever named it: `template train@prod`, `snapshot ...`, `pipeline ...`, `run ...`."""

    template: str | None = None
    """The name of the run template, if one was named or found."""

    run_id: str | None = None
    """Of the run that was started, or that an earlier request had started."""

    run_name: str | None = None
    kind: str
    """What pulled the gate: `api`, `step`, `replay`, `direct`."""

    account: str
    key_id: str | None = None
    idempotency_key: str | None = None
    status: int
    """The HTTP status that was answered at first."""

    problem: str | None = None
    """Of a refusal: which kind of problem, such as `invalid-input`."""

    detail: str | None = None
    """Of a refusal: why, in words."""

    pointers: tuple[str, ...] = ()
    """Of a refusal: where in the request the mistakes were."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How one account has called a template, as far back as decisions are kept."""

    account: str
    counts: dict[str, int]
    """Verdict -> how many attempts."""

    last: datetime
    seconds: float = 0.0
    """What its runs took together that have ended."""

    cost: Cost | None = None
    """Of these; None if the price is not known."""
