"""The rows of artifacts. Their bytes are elsewhere, in the artifact store."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, select

from penstock.errors import found
from penstock.model.artifact import Artifact
from penstock.store.paging import Slice, Window, cut
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import artifacts
from penstock.store.upsert import insert_new

_ARTIFACT = Record(Artifact, artifacts)
_INSERT = insert_new(artifacts)
_ARTIFACTS = select(*_ARTIFACT.columns)
_BY_ID = _ARTIFACTS.where(artifacts.c.id == bindparam("id"))
_BY_IDS = _ARTIFACTS.where(artifacts.c.id.in_(bindparam("ids", expanding=True)))


def insert(ws: WriteSession, made: Iterable[Artifact]) -> None:
    """Keep the records. An artifact never changes: one that is there already stays as it is."""
    ws.change(_INSERT, [_ARTIFACT.row(artifact) for artifact in made])


def get(rs: ReadSession, artifact_id: str) -> Artifact:
    """The artifact with this id. Raises `NotFound`."""
    return _ARTIFACT.made(found(rs.row(_BY_ID, {"id": artifact_id}), "artifact", artifact_id))


def get_many(rs: ReadSession, artifact_ids: Iterable[str]) -> dict[str, Artifact]:
    """Those of these artifacts that there are, by id."""
    wanted = sorted(set(artifact_ids))
    known = [_ARTIFACT.made(row) for row in rs.rows(_BY_IDS, {"ids": wanted})] if wanted else []
    return {artifact.id: artifact for artifact in known}


def page(rs: ReadSession, window: Window, *, run_id: str | None = None, step: str | None = None) -> Slice[Artifact]:
    """Artifacts, newest first: of this run, of the steps with this invocation id."""
    statement = _ARTIFACTS
    if run_id is not None:
        statement = statement.where(artifacts.c.run_id == run_id)
    if step is not None:
        statement = statement.where(artifacts.c.step == step)
    return cut(rs, statement, artifacts.c.id, window, _ARTIFACT.made)
