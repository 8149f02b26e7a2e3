"""The rows of decisions: one for each attempt to start a run."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, bindparam, delete, func, select, type_coerce
from sqlalchemy import insert as into

from penstock.errors import found
from penstock.model.decision import Decision, Usage, Verdict
from penstock.store.columns import Time
from penstock.store.paging import Slice, Window, cut
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import decisions, runs

_BATCH = 1000

_DECISION = Record(Decision, decisions)
_INSERT = into(decisions)
_DECISIONS = select(*_DECISION.columns)
_BY_ID = _DECISIONS.where(decisions.c.id == bindparam("ref"))
_USAGE = (
    select(
        decisions.c.account,
        decisions.c.verdict,
        func.count().label("attempts"),
        func.max(decisions.c.at, type_=Time).label("last"),
    )
    .where(decisions.c.template == bindparam("template"))
    .group_by(decisions.c.account, decisions.c.verdict)
)
_MICROSECONDS = type_coerce(runs.c.ended, BigInteger) - type_coerce(runs.c.started, BigInteger)
_TOOK = (
    select(decisions.c.account, func.sum(_MICROSECONDS).label("took"))
    .join(runs, runs.c.id == decisions.c.run_id)
    .where(decisions.c.template == bindparam("template"), decisions.c.verdict.in_([Verdict.STARTED, Verdict.REPLACED]))
    .where(runs.c.started.is_not(None), runs.c.ended.is_not(None))
    .group_by(decisions.c.account)
)
_OLDEST = select(decisions.c.id).where(decisions.c.at < bindparam("before")).order_by(decisions.c.id)
_PURGE = delete(decisions).where(decisions.c.id <= bindparam("last"), decisions.c.at < bindparam("before"))


def insert(ws: WriteSession, decision: Decision) -> None:
    """Keep a decision."""
    ws.change(_INSERT, _DECISION.row(decision))


def get(rs: ReadSession, decision_id: str) -> Decision:
    """The decision with this id. Raises `NotFound`."""
    return _DECISION.made(found(rs.row(_BY_ID, {"ref": decision_id}), "decision", decision_id))


def page(
    rs: ReadSession,
    window: Window,
    *,
    verdict: Verdict | None = None,
    template: str | None = None,
    run_id: str | None = None,
    account: str | None = None,
    within: frozenset[str] | None = None,
) -> Slice[Decision]:
    """Decisions, newest first; only those about the templates `within`, if that is given."""
    statement = _DECISIONS
    if within is not None:
        statement = statement.where(decisions.c.template.in_(sorted(within)))
    for column, wanted in (("verdict", verdict), ("template", template), ("run_id", run_id), ("account", account)):
        if wanted is not None:
            statement = statement.where(decisions.c[column] == wanted)
    return cut(rs, statement, decisions.c.id, window, _DECISION.made)


def usage(rs: ReadSession, template: str) -> list[Usage]:
    """Who has called the template with this name, and what became of it; whoever came last first."""
    counts: dict[str, dict[str, int]] = {}
    last: dict[str, datetime] = {}
    for row in rs.rows(_USAGE, {"template": template}):
        counts.setdefault(row.account, {})[row.verdict.value] = row.attempts
        last[row.account] = max(row.last, last.get(row.account, row.last))
    took = {row.account: int(row.took) / 1_000_000 for row in rs.rows(_TOOK, {"template": template})}
    found = [
        Usage(account=account, counts=counts[account], last=at, seconds=took.get(account, 0.0))
        for account, at in last.items()
    ]
    return sorted(found, key=lambda one: one.last, reverse=True)


def purge(ws: WriteSession, before: datetime) -> int:
    """Forget the oldest decisions from before this moment, a thousand at a time; how many. Again until it is 0."""
    rows = ws.rows(_OLDEST.limit(_BATCH), {"before": before})
    return ws.change(_PURGE, {"last": rows[-1].id, "before": before}) if rows else 0
