"""What happened to a run, numbered: the rows that live views follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy import insert as into

from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import run_events

LARGEST = 1000
"""No reading gives more entries than this."""

_INSERT = into(run_events)
_LAST = select(func.max(run_events.c.number)).where(run_events.c.run_id == bindparam("id"))
_AFTER = (
    select(run_events)
    .where(run_events.c.run_id == bindparam("id"), run_events.c.number > bindparam("after"))
    .order_by(run_events.c.number)
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that happened. `number` counts from 1 inside a run and is given by `append`."""

    number: int = 0
    at: datetime
    type: str
    step: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


def append(ws: WriteSession, run_id: str, entries: Sequence[Entry], *, new: bool = False) -> int:
    """Keep the entries under the next numbers; the number of the last one there is now. A `new` run has none yet.

    The caller has read the run in this session (`runs.get`) or made it there, so that nobody else counts meanwhile.
    """
    last: int = 0 if new else ws.value(_LAST, {"id": run_id}) or 0
    rows = [
        {"run_id": run_id, "number": number, "at": entry.at, "type": entry.type, "step": entry.step, "data": entry.data}
        for number, entry in enumerate(entries, last + 1)
    ]
    ws.change(_INSERT, rows)
    return last + len(rows)


def begin(ws: WriteSession, happened: Mapping[str, Sequence[Entry]]) -> None:
    """Keep the entries of runs, by their ids, that have none yet."""
    rows = [
        {"run_id": run_id, "number": number, "at": entry.at, "type": entry.type, "step": entry.step, "data": entry.data}
        for run_id, entries in happened.items()
        for number, entry in enumerate(entries, 1)
    ]
    ws.change(_INSERT, rows)


def after(rs: ReadSession, run_id: str, number: int, limit: int = LARGEST) -> list[Entry]:
    """The entries that follow `number` (0: from the beginning), oldest first, at most `limit`."""
    found = rs.rows(_AFTER, {"id": run_id, "after": number, "limit": min(limit, LARGEST)})
    return [Entry(number=row.number, at=row.at, type=row.type, step=row.step, data=row.data) for row in found]
