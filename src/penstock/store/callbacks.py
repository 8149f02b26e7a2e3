"""The rows of callbacks: who is to be told of which run's end, and when; and how the secret was rotated."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import and_, bindparam, delete, func, or_, select, update
from sqlalchemy import insert as into

from penstock.errors import found
from penstock.model.callback import Callback, CallbackState, host_of
from penstock.store.paging import Slice, Window, cut
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import callback_rotations as rotations
from penstock.store.tables import callbacks, runs


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """The secret was exchanged: its own id goes into the new one. The one before signs too until `previous_until`."""

    id: str
    created: datetime
    previous_until: datetime | None = None


_BATCH = 1000

_CALLBACK = Record(Callback, callbacks)
_ROTATION = Record(Rotation, rotations)

_INSERT = into(callbacks)
_CALLBACKS = select(*_CALLBACK.columns)
_BY_ID = _CALLBACKS.where(callbacks.c.id == bindparam("ref"))
_SAME = _CALLBACKS.where(callbacks.c.run_id == bindparam("run"), callbacks.c.url == bindparam("url"))
_COUNT = select(func.count()).select_from(callbacks).where(callbacks.c.run_id == bindparam("run"))
_RELEASE = (
    update(callbacks)
    .where(callbacks.c.run_id == bindparam("run"), callbacks.c.state == CallbackState.WAITING)
    .values(state=CallbackState.PENDING, next_try=bindparam("at"))
)
_ELSEWHERE = callbacks.c.host.not_in(bindparam("busy", expanding=True))
_DUE = _CALLBACKS.where(callbacks.c.next_try <= bindparam("now"), _ELSEWHERE).order_by(callbacks.c.next_try).limit(1)
_NEXT = select(callbacks.c.next_try).where(callbacks.c.next_try.is_not(None), _ELSEWHERE).order_by(callbacks.c.next_try)
# A first try is due at once, and one under way is leased for seconds: further ahead lies neither.
_MISDATED = and_(
    callbacks.c.next_try > bindparam("latest"),
    or_(callbacks.c.state == CallbackState.SENDING, callbacks.c.attempts == 0),
)
_ANY_MISDATED = select(callbacks.c.id).where(_MISDATED).limit(1)
_CORRECT = update(callbacks).where(_MISDATED).values(next_try=bindparam("at"))
_ANY = select(callbacks.c.id).where(callbacks.c.next_try.is_not(None)).limit(1)
_SAVE = update(callbacks).where(
    callbacks.c.id == bindparam("ref"),
    callbacks.c.state == bindparam("before"),
    callbacks.c.attempts == bindparam("tries"),
)
_OLDEST = select(callbacks.c.ended).where(callbacks.c.ended < bindparam("before")).order_by(callbacks.c.ended)
_PURGE = delete(callbacks).where(callbacks.c.ended <= bindparam("last"), callbacks.c.ended < bindparam("before"))

_INSERT_ROTATION = into(rotations)
_ROTATIONS = select(*_ROTATION.columns).order_by(rotations.c.id.desc())
_FORGET = delete(rotations).where(rotations.c.id < bindparam("oldest"))


def insert(ws: WriteSession, callback: Callback) -> None:
    """Keep a new callback."""
    ws.change(_INSERT, _CALLBACK.row(callback) | {"host": host_of(callback.url)})


def get(rs: ReadSession, callback_id: str) -> Callback:
    """The callback with this id. Raises `NotFound`. In a write session no other writer changes it until the end."""
    row = rs.row(rs.held(_BY_ID, callbacks), {"ref": callback_id})
    return _CALLBACK.made(found(row, "callback", callback_id))


def find(rs: ReadSession, run_id: str, url: str) -> Callback | None:
    """The callback of this run to this address."""
    row = rs.row(_SAME, {"run": run_id, "url": url})
    return None if row is None else _CALLBACK.made(row)


def count(rs: ReadSession, run_id: str) -> int:
    """How many addresses the run tells."""
    return int(rs.value(_COUNT, {"run": run_id}))


def page(
    rs: ReadSession,
    window: Window,
    *,
    run_id: str | None = None,
    state: CallbackState | None = None,
    within: frozenset[str] | None = None,
) -> Slice[Callback]:
    """Callbacks, newest first; only those of runs of the templates `within`, if that is given."""
    statement = _CALLBACKS
    if within is not None:
        statement = statement.join(runs, runs.c.id == callbacks.c.run_id)
        statement = statement.where(runs.c.template_name.in_(sorted(within)))
    if run_id is not None:
        statement = statement.where(callbacks.c.run_id == run_id)
    if state is not None:
        statement = statement.where(callbacks.c.state == state)
    return cut(rs, statement, callbacks.c.id, window, _CALLBACK.made)


def release(ws: WriteSession, run_id: str, at: datetime) -> None:
    """The run has ended: those who wait for that are to be told from `at` on."""
    ws.change(_RELEASE, {"run": run_id, "at": at})


def claim(ws: WriteSession, now: datetime, until: datetime, *, busy: Collection[str] = ()) -> Callback | None:
    """Take the callback that has been due for longest, to no host in `busy`, and begin a try; None if there is none.

    Nobody else gets it before `until`; then whoever took it is taken for lost.
    """
    row = ws.row(ws.held(_DUE, callbacks, skip=True), {"now": now, "busy": sorted(busy)})
    if row is None:
        return None
    due = _CALLBACK.made(row)
    claimed = replace(due, state=CallbackState.SENDING, attempts=due.attempts + 1, next_try=until)
    save(ws, due, claimed)
    return claimed


def save(ws: WriteSession, before: Callback, after: Callback) -> bool:
    """Write where the callback stands; False, writing nothing, if it stands elsewhere than `before` by now."""
    moving = ("state", "attempts", "status", "problem", "next_try", "tried", "ended")
    values = {name: getattr(after, name) for name in moving}
    return ws.change(_SAVE, values | {"ref": before.id, "before": before.state, "tries": before.attempts}) == 1


def next_due(rs: ReadSession, *, busy: Collection[str] = ()) -> datetime | None:
    """When the next try is due, at hosts that are not in `busy`."""
    moment: datetime | None = rs.value(_NEXT.limit(1), {"busy": sorted(busy)})
    return moment


def misdated(rs: ReadSession, latest: datetime) -> bool:
    """Whether a try that cannot lie so far ahead is due later than `latest`: a clock that was ahead has written that."""
    return rs.row(_ANY_MISDATED, {"latest": latest}) is not None


def correct(ws: WriteSession, latest: datetime, at: datetime) -> int:
    """Have such tries due `at` this moment instead; how many there were."""
    return ws.change(_CORRECT, {"latest": latest, "at": at})


def has_open(rs: ReadSession) -> bool:
    """Whether somebody has still to be told of a run that has ended."""
    return rs.row(_ANY) is not None


def purge(ws: WriteSession, before: datetime) -> int:
    """Forget the oldest callbacks that came to an end before this moment, about a thousand; how many. Again until it is 0."""
    last = ws.value(_OLDEST.offset(_BATCH).limit(1), {"before": before})
    return ws.change(_PURGE, {"last": last or before, "before": before})


def rotated(rs: ReadSession) -> list[Rotation]:
    """How the secret was rotated, the last time first."""
    return [_ROTATION.made(row) for row in rs.rows(_ROTATIONS)]


def rotate(ws: WriteSession, rotation: Rotation) -> None:
    """Note that the secret is another one from now on."""
    ws.change(_INSERT_ROTATION, _ROTATION.row(rotation))


def forget_rotations(ws: WriteSession, oldest: str) -> None:
    """Forget those before this one."""
    ws.change(_FORGET, {"oldest": oldest})
