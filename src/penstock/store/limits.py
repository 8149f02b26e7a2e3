"""The queue by lanes: what waits, what goes on, what came lately. Slots are live leases, counted at every look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, bindparam, func, select, update

from penstock.errors import found
from penstock.model.limits import Lane
from penstock.model.run import CLAIMED, RunState
from penstock.model.why import Holder
from penstock.store.columns import Time
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import runs, templates

_ONE = runs.c.lane == bindparam("lane")
_WAITING = runs.c.state == RunState.QUEUED
_ACTIVE = runs.c.state.in_(sorted(CLAIMED))
_DUE = runs.c.ready.is_(None) | (runs.c.ready <= bindparam("now"))

_HEADS = (
    select(runs.c.lane, func.min(runs.c.turn).label("turn"), func.count().label("waiting"))
    .where(_WAITING, _DUE)
    .group_by(runs.c.lane)
    .subquery("heads")
)
_before = runs.alias("before")
_SERVED = (
    select(func.max(_before.c.claimed))
    .where(_before.c.lane == _HEADS.c.lane, _before.c.claimed.is_not(None))
    .correlate(_HEADS)
    .scalar_subquery()
)
_GOING_ON = (
    select(func.count())
    .select_from(_before)
    .where(_before.c.lane == _HEADS.c.lane, _before.c.state.in_(sorted(CLAIMED)))
    .correlate(_HEADS)
    .scalar_subquery()
)
_LANES = (
    select(
        runs.c.lane,
        runs.c.turn,
        runs.c.created,
        runs.c.lane_limit,
        runs.c.template_id,
        _HEADS.c.waiting,
        _SERVED.label("served"),
        _GOING_ON.label("active"),
    )
    .select_from(_HEADS)
    .join(runs, (runs.c.lane == _HEADS.c.lane) & (runs.c.turn == _HEADS.c.turn) & _WAITING & _DUE)
)
_HOLD = select(templates.c.id).where(templates.c.id.in_(bindparam("ids", expanding=True))).order_by(templates.c.id)
_COUNT_WAITING = select(func.count()).select_from(runs).where(_WAITING, _ONE)
_ALL_HOLDERS = select(runs.c.name, runs.c.claimed).where(_ACTIVE).order_by(runs.c.id).limit(bindparam("limit"))
_HOLDERS = _ALL_HOLDERS.where(_ONE)
_COUNT_ACTIVE = select(func.count()).select_from(runs).where(_ACTIVE, _ONE)
_PLACE = select(runs.c.lane, runs.c.lane_limit, runs.c.turn, runs.c.ready, runs.c.held_since).where(
    runs.c.id == bindparam("id")
)
_COUNT_BEFORE = (
    select(func.count())
    .select_from(runs)
    .where(
        _WAITING,
        _ONE,
        (runs.c.turn < bindparam("turn")) | ((runs.c.turn == bindparam("turn")) & (runs.c.id < bindparam("id"))),
    )
)
_CLAIMS = (
    select(runs.c.claimed)
    .where(_ONE, runs.c.claimed.is_not(None))
    .order_by(runs.c.claimed.desc())
    .limit(bindparam("limit"))
)
_ACCEPTED = (
    select(func.coalesce(runs.c.ready, runs.c.created, type_=Time).label("at"))
    .where(runs.c.template_id == bindparam("id"), runs.c.started.is_not(None) | (runs.c.state != RunState.CANCELLED))
    .order_by(runs.c.id.desc())
    .limit(1)
).offset(bindparam("before"))
_OPEN = select(runs.c.id).where(_WAITING | _ACTIVE, _ONE).order_by(runs.c.id).limit(1)
_LATER = runs.c.ready > bindparam("now")
_PUT_OFF = (
    select(runs.c.id, runs.c.held_since)
    .where(_WAITING, _ONE, _LATER, runs.c.held_since.is_not(None))
    .order_by(runs.c.id.desc())
    .limit(1)
)
_NEXT_READY = select(runs.c.ready).where(_WAITING, _LATER).order_by(runs.c.ready).limit(1)
_HOLD_ON = update(runs).where(runs.c.lease_expires < bindparam("until"), runs.c.lease_owner.like(bindparam("here")))
_SET_LIMIT = (
    update(runs)
    .where(runs.c.template_id == bindparam("template"), _WAITING | _ACTIVE)
    .values(lane_limit=bindparam("most"))
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run waits: its lane, how many of the lane go on at once, and what it is ordered by there."""

    lane: str
    limit: int | None
    turn: datetime
    ready: datetime | None = None
    """It is not claimed before."""

    held_since: datetime | None = None
    """Since when it, or the first of those that it has outdone, has been put off."""


def lanes(rs: ReadSession, at: datetime) -> list[Lane]:
    """The lanes in which runs wait that are not put off beyond `at`.

    In a write session no other one counts limited lanes until the end, so that two that claim do not both see a slot free.
    """
    rows = rs.rows(_LANES, {"now": at})
    limited = {row.template_id for row in rows if row.lane_limit is not None}
    if limited:
        held = {row.id for row in rs.rows(rs.held(_HOLD, templates), {"ids": sorted(limited)})}
        # Again, now that nobody else counts them. What came since is found by the next look.
        rows = [row for row in rs.rows(_LANES, {"now": at}) if row.lane_limit is None or row.template_id in held]
    found: dict[str, Lane] = {}
    for row in rows:  # several of a lane if they have the same turn
        found[row.lane] = Lane(
            key=row.lane,
            waiting=row.waiting,
            active=row.active,
            head=row.turn,
            created=row.created,
            limit=row.lane_limit,
            served=row.served,
        )
    return list(found.values())


def next_of(columns: Select[tuple[object, ...]]) -> Select[tuple[object, ...]]:
    """`columns` of the first runs that wait in `lane` and are not put off beyond `now`, at most `limit`."""
    return columns.where(_WAITING, _ONE, _DUE).order_by(runs.c.turn, runs.c.id).limit(bindparam("limit"))


def count_waiting(rs: ReadSession, lane: str) -> int:
    """How many runs wait in this lane."""
    return int(rs.value(_COUNT_WAITING, {"lane": lane}))


def count_active(rs: ReadSession, lane: str) -> int:
    """How many runs go on in this lane."""
    return int(rs.value(_COUNT_ACTIVE, {"lane": lane}))


def place_of(rs: ReadSession, run_id: str) -> Place:
    """Where a run waits, or has waited."""
    row = found(rs.row(_PLACE, {"id": run_id}), "run", run_id)
    return Place(lane=row.lane, limit=row.lane_limit, turn=row.turn, ready=row.ready, held_since=row.held_since)


def count_before(rs: ReadSession, place: Place, run_id: str) -> int:
    """How many runs of its lane have their turn before this one."""
    return int(rs.value(_COUNT_BEFORE, {"lane": place.lane, "turn": place.turn, "id": run_id}))


def holders(rs: ReadSession, lane: str, limit: int = 3) -> list[Holder]:
    """The runs that go on in this lane, the oldest first, and when they were claimed."""
    return [Holder(name=row.name, since=row.claimed) for row in rs.rows(_HOLDERS, {"lane": lane, "limit": limit})]


def all_holders(rs: ReadSession, limit: int) -> list[Holder]:
    """The runs that go on, whatever their lane."""
    return [Holder(name=row.name, since=row.claimed) for row in rs.rows(_ALL_HOLDERS, {"limit": limit})]


def claims(rs: ReadSession, lane: str, limit: int = 20) -> list[datetime]:
    """When the last runs of this lane were claimed, newest first."""
    return [row.claimed for row in rs.rows(_CLAIMS, {"lane": lane, "limit": limit})]


def accepted(rs: ReadSession, template_id: str, number: int) -> datetime | None:
    """When the newest run of the template but `number` - 1 came, or may start if it was put off; None if there are fewer.

    Runs that were cancelled before they began do not count.
    """
    row = rs.row(_ACCEPTED, {"id": template_id, "before": number - 1})
    return None if row is None else row.at


def open_run(rs: ReadSession, lane: str) -> str | None:
    """The id of the oldest run of this lane that waits or goes on."""
    row = rs.row(_OPEN, {"lane": lane})
    return None if row is None else row.id


def put_off(rs: ReadSession, lane: str, at: datetime) -> tuple[str, datetime] | None:
    """The newest run of this lane that is put off beyond `at`: its id, and since when it has been."""
    row = rs.row(_PUT_OFF, {"lane": lane, "now": at})
    return None if row is None else (row.id, row.held_since)


def next_ready(rs: ReadSession, at: datetime) -> datetime | None:
    """When the next of the runs that are put off beyond `at` may be claimed."""
    row = rs.row(_NEXT_READY, {"now": at})
    return None if row is None else row.ready


def hold_on(ws: WriteSession, place: str, until: datetime) -> int:
    """Have the leases in this home hold until then at least; how many were to end before."""
    return ws.change(_HOLD_ON, {"here": f"%{place}", "until": until, "lease_expires": until})


def set_limit(ws: WriteSession, template_id: str, limit: int | None) -> None:
    """Have so many runs of the template go on at once: of those that wait, and of those that may come back to the queue."""
    ws.change(_SET_LIMIT, {"template": template_id, "most": limit})
