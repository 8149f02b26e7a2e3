"""Flow control: where a run waits, and whether the limits of its template let it in."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

from penstock.errors import AlreadyRunning, TooManyRequests, fault, pointer
from penstock.ids import digest_of
from penstock.model.cache import canonical
from penstock.model.limits import Limits, Rate, turn
from penstock.model.run import Run, RunState
from penstock.model.template import Template
from penstock.model.terms import Terms
from penstock.store import limits as stored
from penstock.store import runs
from penstock.store.session import ReadSession, WriteSession

LONGEST_RETRY = 3600
"""Seconds of `Retry-After` at most where it is worked out from what the queue did lately."""


def single(rs: ReadSession, run: Run, terms: Terms | None) -> Run | None:
    """The run that this one is to join, since its template has one at a time. None: it may start.

    Raises `AlreadyRunning` if it may not join: it wants something else, or the template refuses.
    """
    limits = (terms.limits if terms else None) or Limits()
    other = stored.open_run(rs, _lane(run, limits)) if limits.singleton is not None else None
    if other is None:
        return None
    holder = runs.get(rs, other)
    wanted, running = (canonical([one.snapshot_id, one.parameters, one.step_parameters]) for one in (run, holder))
    if limits.singleton == "join" and wanted == running:
        return holder
    why = "" if limits.singleton == "refuse" else " It has other values, so there is nothing to join."
    told = f"'{run.template_name}' has one run at a time, and {holder.name} is {holder.state}.{why}"
    raise AlreadyRunning(f"{told} Nothing was started.", errors=[fault(pointer("terms", "limits", "singleton"), told)])


def admitted(ws: WriteSession, run: Run, terms: Terms | None) -> tuple[stored.Place, str | None]:
    """The place of a new run in the queue, and the id of the waiting run that it outdoes, if it does.

    Raises `TooManyRequests`, with a `Retry-After`, if a limit refuses it. The template is held by this transaction already,
    so that two at once do not both take the last place.
    """
    limits = (terms.limits if terms else None) or Limits()
    place = stored.Place(
        lane=_lane(run, limits), limit=limits.concurrency, turn=turn(run.created, run.configuration.priority)
    )
    if run.state is not RunState.QUEUED:  # its caller carries it out, and does not wait
        return place, None
    outdone = None
    if limits.debounce is not None:
        outdone = stored.put_off(ws, place.lane, run.created)
        since = outdone[1] if outdone else run.created
        place = replace(place, ready=limits.debounce.until(run.created, since), held_since=since)
    if limits.rate is not None:
        place = _in_time(ws, run, place, limits.rate)
    if limits.queue is not None and outdone is None:
        waiting = stored.count_waiting(ws, place.lane)
        if waiting >= limits.queue:
            raise _refused("queue", _full(ws, run, place.lane, waiting), _pace(ws, place.lane, run.created))
    return place, outdone[0] if outdone else None


def _in_time(rs: ReadSession, run: Run, place: stored.Place, rate: Rate) -> stored.Place:
    """The place, put off until the rate allows it. Raises `TooManyRequests` if the rate refuses."""
    before = stored.accepted(rs, str(run.template_id), rate.limit)
    free = before + timedelta(seconds=rate.per) if before else run.created
    if free <= (place.ready or run.created):
        return place
    if rate.mode == "delay":
        return replace(place, ready=free)
    told = f"'{run.template_name}' takes {rate.limit} runs in {rate.per:g} s, and has taken them."
    raise _refused("rate", told, (free - run.created).total_seconds())


def apply(ws: WriteSession, template: Template) -> None:
    """Have the template's limit of runs at once hold for the runs that wait, too; their keys stay as they are."""
    stored.set_limit(ws, template.id, template.terms.limits.concurrency if template.terms.limits else None)


def lift(ws: WriteSession, template: Template) -> None:
    """Have no limit hold for the runs of a template that is going to be removed."""
    stored.set_limit(ws, template.id, None)


def _lane(run: Run, limits: Limits) -> str:
    owner = run.template_id or run.pipeline_id
    if limits.concurrency_key is None:
        return owner
    value = run.parameters.get(limits.parameter) if limits.parameter else run.cause.account_id or run.cause.account
    # A digest: values may be long, or hold what a database refuses in a text.
    return f"{owner}:{digest_of(canonical(value).encode())[:32]}"


def _full(rs: ReadSession, run: Run, lane: str, waiting: int) -> str:
    names = stored.holders(rs, lane)
    going_on = f" Before them go on: {', '.join(one.name for one in names)}." if names else ""
    return f"{waiting} runs of '{run.template_name}' wait already, and no more may.{going_on}"


def _pace(rs: ReadSession, lane: str, at: datetime) -> float:
    """Seconds until the next run of the lane is likely to be claimed: the usual time between two lately."""
    claims = stored.claims(rs, lane)
    if not claims:
        return 1.0
    if len(claims) == 1:  # it will take about as long again as it has taken
        return min(LONGEST_RETRY, (at - claims[0]).total_seconds())
    return min(LONGEST_RETRY, (claims[0] - claims[-1]).total_seconds() / (len(claims) - 1))


def _refused(limit: str, told: str, seconds: float) -> TooManyRequests:
    wait = max(1, math.ceil(seconds))
    mistake = fault(pointer("terms", "limits", limit), told)
    return TooManyRequests(
        f"{told} Nothing was started; try again in {wait} s.", errors=[mistake], headers={"Retry-After": str(wait)}
    )
