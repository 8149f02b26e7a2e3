"""What is old enough to go, found by ids, which are time-ordered: nothing that is young is ever looked at."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, Text, bindparam, cast, delete, exists, func, literal, or_, select

from penstock.ids import format_id
from penstock.model.run import TERMINAL
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import (
    callbacks,
    code_archives,
    decisions,
    idempotency_keys,
    log_chunks,
    run_events,
    runs,
    snapshots,
)

_OLD = (runs.c.state.in_(sorted(TERMINAL)), runs.c.ended < bindparam("before"))
_HELD = exists().where(
    idempotency_keys.c.run_id == runs.c.id,
    or_(idempotency_keys.c.expires > bindparam("now"), idempotency_keys.c.until_terminal),
)
_UNTOLD = exists().where(callbacks.c.run_id == runs.c.id, callbacks.c.next_try.is_not(None))
_RUNS = select(runs.c.id).where(runs.c.id < bindparam("horizon"), *_OLD, ~_HELD, ~_UNTOLD).order_by(runs.c.id)
_REMOVE_RUNS = delete(runs).where(runs.c.id.in_(bindparam("ids", expanding=True)))


def _with_rows(table: Table) -> Select[Any]:
    """Old runs that have rows in `table`, from its own end: those that have none any more cost nothing."""
    key = table.c.run_id
    return (
        select(key).distinct().where(key < bindparam("horizon"), exists().where(runs.c.id == key, *_OLD)).order_by(key)
    )


_PARTS = {"logs": log_chunks, "events": run_events}
_RUNS_WITH = {name: _with_rows(table) for name, table in _PARTS.items()}
_REMOVE_ROWS = {
    name: delete(table).where(table.c.run_id.in_(bindparam("ids", expanding=True))) for name, table in _PARTS.items()
}
_DECISIONS = (
    select(func.count())
    .select_from(decisions)
    .where(decisions.c.id < bindparam("horizon"), decisions.c.at < bindparam("before"))
)
_CALLBACKS = select(func.count()).select_from(callbacks).where(callbacks.c.ended < bindparam("before"))
_KEYS = (
    select(func.count())
    .select_from(idempotency_keys)
    .where(
        idempotency_keys.c.expires <= bindparam("now"),
        ~idempotency_keys.c.until_terminal
        | idempotency_keys.c.run_id.in_(select(runs.c.id).where(runs.c.state.in_(sorted(TERMINAL)))),
    )
)
_NAMED = exists().where(cast(snapshots.c.content, Text).like(literal("%") + code_archives.c.digest + literal("%")))
_ARCHIVES = (
    select(code_archives.c.digest)
    .where(code_archives.c.created < bindparam("before"), code_archives.c.digest > bindparam("after"))
    .order_by(code_archives.c.digest)
)
_ARCHIVE = select(code_archives.c.digest).where(code_archives.c.digest == bindparam("digest"))
_REMOVE_ARCHIVE = delete(code_archives).where(
    code_archives.c.digest == bindparam("digest"), code_archives.c.created < bindparam("before")
)


def old_runs(rs: ReadSession, before: datetime, now: datetime, limit: int) -> list[str]:
    """Ids of runs that ended before this, the oldest first, without those whose idempotency key is still good.

    And without those of whose end somebody has still to be told.
    """
    return _ids(rs, _RUNS.limit(limit), before, now=now)


def remove_runs(ws: WriteSession, ids: list[str]) -> int:
    """Remove these runs with their steps, history, logs and keys; how many. Artifacts stay until they are pruned."""
    return ws.change(_REMOVE_RUNS, {"ids": ids})


def runs_with(rs: ReadSession, part: str, before: datetime, limit: int) -> list[str]:
    """Ids of runs that ended before this and still have `logs` or `events`, the oldest first."""
    return _ids(rs, _RUNS_WITH[part].limit(limit), before)


def remove_part(ws: WriteSession, part: str, ids: list[str]) -> None:
    """Remove the `logs` or `events` of these runs."""
    ws.change(_REMOVE_ROWS[part], {"ids": ids})


def old_archives(rs: ReadSession, before: datetime, after: str, limit: int) -> list[str]:
    """Digests of code archives that were uploaded before this, those behind the digest `after`, in order."""
    return [row.digest for row in rs.rows(_ARCHIVES.limit(limit), {"before": before, "after": after})]


def is_needed(rs: ReadSession, digest: str) -> bool:
    """Whether a snapshot has this code archive. In a write session no snapshot comes to have it until the end."""
    held = rs.row(rs.held(_ARCHIVE, code_archives), {"digest": digest})
    needed = select(literal(1)).select_from(code_archives).where(code_archives.c.digest == digest, _NAMED)
    return held is not None and rs.row(needed) is not None


def remove_archive(ws: WriteSession, digest: str, before: datetime) -> bool:
    """Forget a code archive that no snapshot has; whether it was there."""
    return not is_needed(ws, digest) and ws.change(_REMOVE_ARCHIVE, {"digest": digest, "before": before}) == 1


def count(rs: ReadSession, what: str, before: datetime, now: datetime) -> int:
    """How many `runs`, `logs`, `events`, `decisions`, `callbacks` or `idempotency_keys` are old enough to go."""
    if what == "decisions":
        return int(rs.value(_DECISIONS, {"before": before, "horizon": _horizon(before)}))
    if what == "callbacks":
        return int(rs.value(_CALLBACKS, {"before": before}))
    if what == "idempotency_keys":
        return int(rs.value(_KEYS, {"now": now}))
    found = _RUNS if what == "runs" else _RUNS_WITH[what]
    values = {"before": before, "horizon": _horizon(before)} | ({"now": now} if what == "runs" else {})
    return int(rs.value(select(func.count()).select_from(found.order_by(None).subquery()), values))


def _ids(rs: ReadSession, statement: Select[Any], before: datetime, **values: Any) -> list[str]:
    return [row[0] for row in rs.rows(statement, {"before": before, "horizon": _horizon(before), **values})]


def _horizon(before: datetime) -> str:
    """The least id of what is made after this: what ended before it was made before it."""
    return format_id(int(before.timestamp() * 1000) << 80)
