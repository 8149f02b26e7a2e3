"""The rows of pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, ScalarSelect, bindparam, select

from penstock.errors import found
from penstock.ids import is_id, new_id
from penstock.model.pipeline import Pipeline
from penstock.store.paging import Slice, Window, cut
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import pipelines
from penstock.store.upsert import upsert
from penstock.store.words import named

_COLUMNS = (pipelines.c.id, pipelines.c.name, pipelines.c.latest_snapshot_id, pipelines.c.created)
_BY_ID = select(*_COLUMNS).where(pipelines.c.id == bindparam("ref"))
_BY_NAME = select(*_COLUMNS).where(pipelines.c.name == bindparam("ref"))
_INSERT = upsert(pipelines, [pipelines.c.name], [])


def get_or_create(ws: WriteSession, name: str, at: datetime) -> Pipeline:
    """The pipeline with this name; a new one, created `at`, if there is none yet."""
    row = ws.row(_BY_NAME, {"ref": name})
    if row is None:
        ws.change(_INSERT, {"id": new_id(), "name": name, "created": at})
        row = ws.row(_BY_NAME, {"ref": name})
    assert row is not None
    return _made(row)


def get(rs: ReadSession, ref: str) -> Pipeline:
    """The pipeline with this id or name. Raises `NotFound`."""
    return _made(found(rs.row(_BY_ID if is_id(ref) else _BY_NAME, {"ref": ref}), "pipeline", ref))


def page(rs: ReadSession, window: Window, *, name: str | None = None, words: Sequence[str] = ()) -> Slice[Pipeline]:
    """Pipelines, newest first: with this name, with all these words in it."""
    statement = select(*_COLUMNS)
    if words:
        statement = statement.where(named(pipelines.c.name, words))
    if name is not None:
        statement = statement.where(pipelines.c.name == name)
    return cut(rs, statement, pipelines.c.id, window, _made)


def id_of(ref: str) -> str | ScalarSelect[Any]:
    """What to compare a `pipeline_id` column with to find what belongs to the pipeline with this id or name."""
    return ref if is_id(ref) else select(pipelines.c.id).where(pipelines.c.name == ref).scalar_subquery()


def _made(row: Row[Any]) -> Pipeline:
    return Pipeline(id=row.id, name=row.name, latest_snapshot_id=row.latest_snapshot_id, created=row.created)
