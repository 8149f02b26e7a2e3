"""The rows of the audit log. Entries are added, given their place, and forgotten from the old end; nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy import insert as into

from penstock.model.audit import Entry, Mark
from penstock.store.account_tables import audit_entries as entries
from penstock.store.account_tables import audit_marks as marks
from penstock.store.paging import Slice, Window, cut
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession
from penstock.store.upsert import insert_new, upsert

_ENTRY = Record(Entry, entries)
_INSERT = into(entries)
_ENTRIES = select(*_ENTRY.columns)
_WAITING = _ENTRIES.where(entries.c.number.is_(None)).order_by(entries.c.id).limit(bindparam("limit"))
_COUNT_WAITING = select(func.count()).select_from(entries).where(entries.c.number.is_(None))
_PLACE = (
    update(entries)
    .where(entries.c.id == bindparam("ref"), entries.c.number.is_(None))
    .values(number=bindparam("place"), previous=bindparam("before"), digest=bindparam("seal"))
)
_AFTER = _ENTRIES.where(entries.c.number > bindparam("after")).order_by(entries.c.number).limit(bindparam("limit"))
_FORGET = delete(entries).where(entries.c.number <= bindparam("last"))
_MARK = select(marks.c.number, marks.c.digest, marks.c.signature).where(marks.c.name == bindparam("ref"))
_BEGIN_MARK = insert_new(marks)
_SET_MARK = upsert(marks, [marks.c.name], [marks.c.number, marks.c.digest, marks.c.signature])


def insert(ws: WriteSession, entry: Entry) -> None:
    """Add an entry, in the transaction of what it tells of."""
    ws.change(_INSERT, _ENTRY.row(entry))


def page(rs: ReadSession, window: Window, *, since: datetime | None = None, **wanted: Any) -> Slice[Entry]:
    """Entries, newest first: with these values in these fields, from this moment on."""
    statement = _ENTRIES
    for name, value in wanted.items():
        statement = statement.where(entries.c[name] == value)
    if since is not None:
        statement = statement.where(entries.c.at >= since)
    return cut(rs, statement, entries.c.id, window, _ENTRY.made)


def waiting(rs: ReadSession, limit: int) -> list[Entry]:
    """Entries that have no place in the chain yet, the oldest first."""
    return [_ENTRY.made(row) for row in rs.rows(_WAITING, {"limit": limit})]


def count_waiting(rs: ReadSession) -> int:
    """How many have no place yet."""
    return int(rs.value(_COUNT_WAITING))


def place(ws: WriteSession, placed: Sequence[Entry]) -> None:
    """Write the places of these entries. One that has a place keeps it."""
    rows = [{"ref": one.id, "place": one.number, "before": one.previous, "seal": one.digest} for one in placed]
    ws.change(_PLACE, rows)


def after(rs: ReadSession, number: int, limit: int) -> list[Entry]:
    """Entries with a place, in order, those that follow this number."""
    return [_ENTRY.made(row) for row in rs.rows(_AFTER, {"after": number, "limit": limit})]


def forget(ws: WriteSession, last: int) -> int:
    """Forget the entries up to this number; how many those were."""
    return ws.change(_FORGET, {"last": last})


def mark(rs: ReadSession, name: str) -> Mark | None:
    """One end of the chain, `start` or `head`; held in a write session, so that one at a time moves it."""
    row = rs.row(rs.held(_MARK, marks), {"ref": name})
    return None if row is None else Mark(number=row.number, digest=row.digest, signature=row.signature)


def begin(ws: WriteSession, name: str, mark: Mark) -> None:
    """Have there be this end of the chain, if there is none."""
    values = {"number": mark.number, "digest": mark.digest, "signature": mark.signature}
    ws.change(_BEGIN_MARK, {"name": name, **values})


def set_mark(ws: WriteSession, name: str, mark: Mark) -> None:
    """Move one end of the chain."""
    values = {"number": mark.number, "digest": mark.digest, "signature": mark.signature}
    ws.change(_SET_MARK, {"name": name, **values})
