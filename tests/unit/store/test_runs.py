"""How the database finds what the busy questions ask for: by an index, in the right order, without sorting."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy import event

from penstock.ids import new_id
from penstock.model.run import Run, RunState, StepRun
from penstock.store import accounts, artifacts, events, idempotency, logs, runs, snapshots, templates
from penstock.store.paging import Window, _sealed
from penstock.store.runs import RunFilter
from penstock.store.session import Database, ReadSession, WriteSession
from tests.unit.store.samples import AT

NEXT = Window(cursor=_sealed(new_id()))
ID = new_id()


@contextmanager
def watched(db: Database) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are sent meanwhile, with their parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_c: object, _k: object, statement: str, parameters: Any, _x: object, _m: object) -> None:
        if not statement.startswith(("BEGIN", "EXPLAIN")):
            sent.append((statement, parameters))

    event.listen(db._engine, "before_cursor_execute", note)
    yield sent
    event.remove(db._engine, "before_cursor_execute", note)


def plans(db: Database, ask: Callable[[WriteSession], object]) -> str:
    with watched(db) as sent, db.write() as ws:
        ask(ws)
    assert sent
    with db.read() as rs:
        steps = [
            row[-1]
            for statement, parameters in sent
            for row in rs._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        ]
    return "\n".join(steps)


STEP = StepRun(id=ID, run_id=ID, step="s", name="s", created=AT)
ASKED: dict[str, Callable[[Any], object]] = {
    "get": lambda rs: runs.get(rs, ID),
    "get by name": lambda rs: runs.get(rs, "name"),
    "claim": lambda ws: runs.claim(ws, "me", 3, AT, at=AT),
    "claim one": lambda ws: runs.claim_one(ws, ID, "me", AT),
    "has queued": runs.has_queued,
    "count queued": runs.count_queued,
    "expired": lambda rs: runs.expired(rs, AT),
    "misdated": lambda rs: runs.misdated(rs, AT),
    "renew": lambda ws: runs.renew(ws, "me", [(ID, 1)], AT),
    "count active": runs.count_active,
    "count active of one": lambda rs: runs.count_active(rs, "me"),
    "by state": lambda rs: runs.page(rs, NEXT, RunFilter(states=(RunState.RUNNING,))),
    "by pipeline": lambda rs: runs.page(rs, NEXT, RunFilter(pipeline=ID)),
    "by pipeline name": lambda rs: runs.page(rs, NEXT, RunFilter(pipeline="train")),
    "by template": lambda rs: runs.page(rs, NEXT, RunFilter(template=ID)),
    "by template name": lambda rs: runs.page(rs, NEXT, RunFilter(template="nightly")),
    "by snapshot": lambda rs: runs.page(rs, NEXT, RunFilter(snapshot_id=ID)),
    "by name": lambda rs: runs.page(rs, Window(), RunFilter(name="name")),
    "by parent": lambda rs: runs.page(rs, NEXT, RunFilter(parent=ID)),
    "by tag": lambda rs: runs.page(rs, NEXT, RunFilter(tags=("x",))),
    "by tags": lambda rs: runs.page(rs, NEXT, RunFilter(tags=("x", "y"))),
    "by tag and state": lambda rs: runs.page(rs, NEXT, RunFilter(tags=("x",), states=(RunState.COMPLETED,))),
    "by tag and account": lambda rs: runs.page(rs, NEXT, RunFilter(tags=("x",), account="me")),
    "by tag and template": lambda rs: runs.page(rs, NEXT, RunFilter(tags=("x",), template=ID, version=3)),
    "by tag and pipeline": lambda rs: runs.page(rs, NEXT, RunFilter(tags=("x",), pipeline=ID)),
    "by tag and snapshot": lambda rs: runs.page(rs, NEXT, RunFilter(tags=("x",), snapshot_id=ID)),
    "by tag and parent": lambda rs: runs.page(rs, NEXT, RunFilter(tags=("x",), parent=ID)),
    "by tag, confined": lambda rs: runs.page(rs, NEXT, RunFilter(tags=("x",), within=frozenset({"nightly"}))),
    "by tag and time": lambda rs: runs.page(rs, NEXT, RunFilter(tags=("x",), created_after=AT, created_before=AT)),
    "by account": lambda rs: runs.page(rs, NEXT, RunFilter(account="me")),
    "by time": lambda rs: runs.page(rs, NEXT, RunFilter(created_after=AT, created_before=AT)),
    "by version": lambda rs: runs.page(rs, NEXT, RunFilter(template="nightly", version=3)),
    "earlier results": lambda rs: runs.earlier(rs, "k"),
    "following results": lambda rs: runs.remembered_after(rs, STEP, 5),
    "latest result": lambda rs: runs.latest_remembered(rs, ID, "fit"),
    "get step": lambda rs: runs.get_step(rs, ID),
    "events": lambda rs: events.after(rs, ID, 5),
    "append events": lambda ws: events.append(ws, ID, []),
    "lines": lambda rs: logs.after(rs, ID, 5),
    "lines of a step": lambda rs: logs.after(rs, ID, 5, step="fit"),
    "append lines": lambda ws: logs.append(ws, ID, []),
    "artifacts of a run": lambda rs: artifacts.page(rs, NEXT, run_id=ID),
    "artifacts of a name": lambda rs: artifacts.page(rs, NEXT, name="x"),
    "latest of a name": lambda rs: artifacts.get(rs, "x"),
    "version of a name": lambda rs: artifacts.get(rs, "x@1"),
    "uses of an artifact": lambda rs: artifacts.uses_of(rs, ID, 5),
    "uses in a step": lambda rs: artifacts.uses_in(rs, ID, "s"),
    "unused artifacts": lambda rs: artifacts.unused(rs, AT),
    "snapshots of a pipeline": lambda rs: snapshots.page(rs, NEXT, pipeline=ID),
    "latest runnable": lambda rs: snapshots.latest_runnable(rs, ID),
    "template": lambda rs: templates.get(rs, "nightly"),
    "credential": lambda rs: accounts.credential(rs, "public"),
    "idempotency": lambda rs: idempotency.find(rs, "me", "key", AT),
    "purge": lambda ws: idempotency.purge(ws, AT),
}


@pytest.mark.parametrize("question", ASKED)
def test_nothing_is_scanned_and_nothing_is_sorted(db: Database, question: str) -> None:
    def ask(session: ReadSession) -> None:
        with suppress(LookupError):
            ASKED[question](session)

    steps = plans(db, ask)
    assert "TEMP B-TREE" not in steps
    assert not re.search(r"^SCAN (?!.*SUBQUERY|counted)", steps, re.MULTILINE), steps


def test_a_page_of_all_runs_reads_only_what_it_gives(db: Database) -> None:
    steps = plans(db, lambda rs: runs.page(rs, NEXT, RunFilter()))
    assert "TEMP B-TREE" not in steps
    assert "SEARCH runs USING INDEX sqlite_autoindex_runs_1 (id<?)" in steps


@pytest.mark.parametrize(("kind", "record"), [(Run, runs._RUN), (StepRun, runs._STEP_RUN)])
def test_each_field_has_its_column_and_each_column_its_field(kind: type, record: Any) -> None:
    [table] = {column.table for column in record.columns}
    names = [field.name for field in fields(kind)]
    assert [column.name for column in table.columns][: len(names)] == names  # what follows is there to be searched by
