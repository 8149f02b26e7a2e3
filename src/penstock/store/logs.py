"""The output of runs. Lines are numbered through a run; a row holds what one step wrote in one batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from sqlalchemy import BigInteger, Row, bindparam, func, select
from sqlalchemy import insert as into

from penstock.model.run import LogLine
from penstock.store.columns import from_microseconds, to_microseconds
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import log_chunks

LARGEST = 1000
"""No reading gives more lines than this."""

_SPAN = 500
"""Numbers that the lines of one row may span. Readers rely on it: it may grow, never shrink."""

_FEW = 32
"""Rows read at a time where it is not known how many lines are in them."""

_UNTIL = bindparam("until", type_=BigInteger)
_INSERT = into(log_chunks)
_LAST = select(func.max(log_chunks.c.last)).where(log_chunks.c.run_id == bindparam("id"))
_OF_RUN = (
    select(log_chunks)
    .where(
        log_chunks.c.run_id == bindparam("id"),
        log_chunks.c.last > bindparam("after"),
        log_chunks.c.last < _UNTIL + _SPAN,
        log_chunks.c.first <= _UNTIL,
    )
    .order_by(log_chunks.c.last)
)
_OF_STEP = (
    select(log_chunks)
    .where(
        log_chunks.c.run_id == bindparam("id"),
        log_chunks.c.step == bindparam("step"),
        log_chunks.c.last > bindparam("after"),
    )
    .order_by(log_chunks.c.last)
    .limit(_FEW)
)

_Numbered = tuple[int, LogLine]


def append(ws: WriteSession, run_id: str, lines: Sequence[LogLine]) -> int:
    """Keep the lines under the next numbers; the number of the last one there is now.

    The caller has read the run in this session (`runs.get`) or made it there, so that nobody else counts meanwhile.
    """
    last: int = ws.value(_LAST, {"id": run_id}) or 0
    rows = []
    for start in range(0, len(lines), _SPAN):
        rows += _rows(run_id, last + 1 + start, lines[start : start + _SPAN])
    ws.change(_INSERT, rows)
    return last + len(lines)


def begin(ws: WriteSession, written: Mapping[str, Sequence[LogLine]]) -> None:
    """Keep the lines of runs, by their ids, that have none yet."""
    rows = []
    for run_id, lines in written.items():
        for start in range(0, len(lines), _SPAN):
            rows += _rows(run_id, 1 + start, lines[start : start + _SPAN])
    ws.change(_INSERT, rows)


def after(
    rs: ReadSession, run_id: str, cursor: int = 0, *, step: str | None = None, limit: int = LARGEST
) -> tuple[list[LogLine], int]:
    """The lines that follow `cursor` (0: from the beginning), in order, and the cursor that follows them.

    With `step`, only what that step wrote; the cursor means the same with and without.
    """
    limit = min(limit, LARGEST)
    found = _run_lines(rs, run_id, cursor, limit) if step is None else _step_lines(rs, run_id, step, cursor, limit)
    return [line for _, line in found], found[-1][0] if found else cursor


def _rows(run_id: str, first: int, lines: Sequence[LogLine]) -> list[dict[str, Any]]:
    by_step: dict[str | None, list[_Numbered]] = {}
    for number, line in enumerate(lines, first):
        by_step.setdefault(line.step, []).append((number, line))
    return [
        {
            "run_id": run_id,
            "first": numbered[0][0],
            "last": numbered[-1][0],
            "step": step,
            "lines": [
                (number - numbered[0][0], to_microseconds(line.at), line.stream, line.text) for number, line in numbered
            ],
        }
        for step, numbered in by_step.items()
    ]


def _run_lines(rs: ReadSession, run_id: str, cursor: int, limit: int) -> list[_Numbered]:
    # Numbers have no gaps in a run: the wanted lines are those up to `until`, wherever the rows of a batch have them.
    until = cursor + limit
    found = _numbered(rs.rows(_OF_RUN, {"id": run_id, "after": cursor, "until": until}))
    return sorted((one for one in found if cursor < one[0] <= until), key=lambda one: one[0])


def _step_lines(rs: ReadSession, run_id: str, step: str, cursor: int, limit: int) -> list[_Numbered]:
    # The rows of one step follow one another, so reading stops as soon as there is enough.
    found: list[_Numbered] = []
    while True:
        after_last = found[-1][0] if found else cursor
        rows = rs.rows(_OF_STEP, {"id": run_id, "step": step, "after": after_last})
        found += [one for one in _numbered(rows) if one[0] > cursor]
        if len(found) >= limit or len(rows) < _FEW:
            return found[:limit]


def _numbered(rows: Iterable[Row[Any]]) -> Iterable[_Numbered]:
    for row in rows:
        for offset, moment, stream, text in row.lines:
            kind = cast("Literal['stdout', 'stderr']", stream)
            yield row.first + offset, LogLine(at=from_microseconds(moment), stream=kind, text=text, step=row.step)
