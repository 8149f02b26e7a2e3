"""The rows of snapshots, and the names that people give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from penstock.errors import InvalidInput, NotFound, fault, found, pointer
from penstock.ids import new_id
from penstock.model.snapshot import Snapshot
from penstock.store.paging import Slice, Window, cut
from penstock.store.pipelines import id_of
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import pipelines, snapshot_names, snapshots
from penstock.store.templates import TEMPLATES
from penstock.store.upsert import insert_new, upsert

_COLUMNS = (snapshots.c.id, snapshots.c.pipeline_id, snapshots.c.content, snapshots.c.created)
_BY_ID = select(*_COLUMNS).where(snapshots.c.id == bindparam("id"))
_INSERT = insert_new(snapshots)
_LATEST = (
    update(pipelines)
    .where(pipelines.c.id == bindparam("pipeline"))
    .where(pipelines.c.latest_snapshot_id.is_distinct_from(bindparam("latest")))
    .values(latest_snapshot_id=bindparam("latest"))
)
_LATEST_RUNNABLE = (
    update(pipelines)
    .where(pipelines.c.id == bindparam("pipeline"))
    .where(pipelines.c.latest_runnable_id.is_distinct_from(bindparam("latest")))
    .values(latest_runnable_id=bindparam("latest"))
)
_RUNNABLE = select(*_COLUMNS).join(pipelines, pipelines.c.latest_runnable_id == snapshots.c.id)
_RUNNABLE_OF = _RUNNABLE.where(pipelines.c.id == bindparam("id"))
_NAME = upsert(snapshot_names, [snapshot_names.c.pipeline_id, snapshot_names.c.name], [snapshot_names.c.snapshot_id])
_NAMES = (
    select(snapshot_names.c.snapshot_id, snapshot_names.c.name)
    .where(snapshot_names.c.snapshot_id.in_(bindparam("ids", expanding=True)))
    .order_by(snapshot_names.c.name)
)


def insert(ws: WriteSession, snapshot: Snapshot) -> bool:
    """Keep the snapshot; whether it is new. Either way it is now the latest of its pipeline: it was frozen last.

    Its `names` are not kept with it: see `set_name`.
    """
    row = {
        "id": snapshot.id,
        "serial": new_id(),
        "pipeline_id": snapshot.pipeline_id,
        "content": snapshot.content,
        "created": snapshot.created,
    }
    created = ws.change(_INSERT, row) == 1
    latest = {"pipeline": snapshot.pipeline_id, "latest": snapshot.id}
    ws.change(_LATEST, latest)
    if snapshot.runnable:
        ws.change(_LATEST_RUNNABLE, latest)
    return created


def get(rs: ReadSession, snapshot_id: str) -> Snapshot:
    """The snapshot with this id. Raises `NotFound`."""
    row = found(rs.row(_BY_ID, {"id": snapshot_id}), "snapshot", snapshot_id)
    return _made(rs, [row])[0]


def set_name(ws: WriteSession, pipeline_id: str, name: str, snapshot_id: str) -> None:
    """Give the snapshot a name. Inside a pipeline a name belongs to one snapshot: it leaves the one that had it."""
    ws.outdate(TEMPLATES)  # a snapshot is remembered with what its template means, and its names with it
    ws.change(_NAME, {"pipeline_id": pipeline_id, "name": name, "snapshot_id": snapshot_id})


def by_name(rs: ReadSession, name: str, pipeline: str | None = None) -> Snapshot:
    """The snapshot with this name, in the pipeline with this id or name.

    Raises `NotFound`, or `InvalidInput` if no pipeline was given and several have a snapshot of this name.
    """
    statement = (
        select(*_COLUMNS, pipelines.c.name.label("pipeline"))
        .join(snapshot_names, snapshot_names.c.snapshot_id == snapshots.c.id)
        .join(pipelines, pipelines.c.id == snapshot_names.c.pipeline_id)
        .where(snapshot_names.c.name == name)
        .order_by(pipelines.c.name)
        .limit(20)
    )
    if pipeline is not None:
        statement = statement.where(snapshot_names.c.pipeline_id == id_of(pipeline))
    rows = rs.rows(statement)
    if not rows:
        of = f" of pipeline '{pipeline}'" if pipeline is not None else ""
        raise NotFound(f"There is no snapshot '{name}'{of}.")
    if len(rows) > 1:
        problem = fault(pointer("pipeline"), "Say which pipeline.", allowed=[row.pipeline for row in rows])
        raise InvalidInput(f"Several pipelines have a snapshot named '{name}'.", errors=[problem])
    return _made(rs, rows)[0]


def latest_runnable(rs: ReadSession, pipeline_id: str) -> Snapshot | None:
    """Of the pipeline's snapshots with archived code, the one that was frozen last."""
    row = rs.row(_RUNNABLE_OF, {"id": pipeline_id})
    return None if row is None else _made(rs, [row])[0]


def page(rs: ReadSession, window: Window, *, pipeline: str | None = None, name: str | None = None) -> Slice[Snapshot]:
    """Snapshots, newest first: of the pipeline with this id or name, with this name."""
    statement = select(*_COLUMNS)
    if pipeline is not None:
        statement = statement.where(snapshots.c.pipeline_id == id_of(pipeline))
    if name is not None:
        named = select(snapshot_names.c.snapshot_id).where(snapshot_names.c.name == name)
        statement = statement.where(snapshots.c.id.in_(named))
    listed = cut(rs, statement, snapshots.c.serial, window, lambda row: row)
    return Slice(items=tuple(_made(rs, listed.items)), total=listed.total, next=listed.next)


def _made(rs: ReadSession, rows: Iterable[Row[Any]]) -> list[Snapshot]:
    rows = list(rows)
    names: dict[str, list[str]] = {}
    for named in rs.rows(_NAMES, {"ids": [row.id for row in rows]}) if rows else ():
        names.setdefault(named.snapshot_id, []).append(named.name)
    return [
        Snapshot(
            id=row.id,
            pipeline_id=row.pipeline_id,
            content=row.content,
            names=tuple(names.get(row.id, ())),
            created=row.created,
        )
        for row in rows
    ]
