"""The rows of artifacts, and of their uses. Their bytes are elsewhere, in the artifact store."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, select, update

from penstock.errors import found
from penstock.ids import is_id
from penstock.model.artifact import Artifact, Use, parse_reference
from penstock.store.paging import Slice, Window, cut
from penstock.store.records import Record
from penstock.store.runs import ids_within
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import artifact_uses, artifacts
from penstock.store.upsert import insert_new

_ARTIFACT = Record(Artifact, artifacts)
_USE = Record(Use, artifact_uses)
_INSERT = insert_new(artifacts)
_INSERT_USE = insert_new(artifact_uses)
_ARTIFACTS = select(*_ARTIFACT.columns)
_BY_ID = _ARTIFACTS.where(artifacts.c.id == bindparam("ref"))
_BY_IDS = _ARTIFACTS.where(artifacts.c.id.in_(bindparam("ids", expanding=True)))
_OF_NAME = _ARTIFACTS.where(artifacts.c.name == bindparam("ref"))
_LATEST = _OF_NAME.order_by(artifacts.c.number.desc()).limit(1)
_VERSION = _OF_NAME.where(artifacts.c.version == bindparam("version"))
_HIGHEST = select(func.max(artifacts.c.number)).where(artifacts.c.name == bindparam("name"))
_ANNOTATE = update(artifacts).where(artifacts.c.id == bindparam("ref"))
_USES_OF = (
    select(*_USE.columns)
    .where(artifact_uses.c.artifact_id == bindparam("id"))
    .order_by(*(column.desc() for column in list(artifact_uses.primary_key)[1:]))
    .limit(bindparam("limit"))
)
_USES_IN = select(*_USE.columns).where(
    artifact_uses.c.run_id == bindparam("run"), artifact_uses.c.step == bindparam("step")
)
_USES_OF_RUN = (
    select(*_USE.columns)
    .where(artifact_uses.c.run_id == bindparam("run"))
    .order_by(artifact_uses.c.step, artifact_uses.c.kind, artifact_uses.c.name, artifact_uses.c.artifact_id)
)
_USED = exists().where(artifact_uses.c.artifact_id == artifacts.c.id)
_UNUSED = (
    _ARTIFACTS.where(~_USED, artifacts.c.created < bindparam("before"), artifacts.c.id > bindparam("after"))
    .order_by(artifacts.c.id)
    .limit(bindparam("limit"))
)
_REMOVE = delete(artifacts).where(artifacts.c.id.in_(bindparam("ids", expanding=True)), ~_USED)
_FILES = (
    select(artifacts.c.id, artifacts.c.files)
    .where(artifacts.c.id > bindparam("after"))
    .order_by(artifacts.c.id)
    .limit(bindparam("limit"))
)

_NAMES = (
    select(artifacts.c.name).where(artifacts.c.number == 1, artifacts.c.name.is_not(None)).order_by(artifacts.c.name)
).limit(bindparam("limit"))

_FIRST = ""
"""Comes before every id."""

_PORTION = 1000


def insert(ws: WriteSession, made: Iterable[Artifact]) -> list[Artifact]:
    """Keep the records; those with a name get the next number under it, and that as version if they have none.

    An artifact never changes: one that is there already stays as it is. A version that is taken gets its number behind it.
    The records are returned as they are kept.
    """
    kept = []
    for artifact in made:
        row = _ARTIFACT.row(artifact) | {"number": None}
        if artifact.name is not None and ws.row(_BY_ID, {"ref": artifact.id}) is None:
            number = int(ws.value(_HIGHEST, {"name": artifact.name}) or 0) + 1
            version = _version(ws, artifact, number)
            row |= {"number": number, "version": version}
        ws.change(_INSERT, row)
        kept.append(replace(artifact, version=row["version"]))
    return kept


def get(rs: ReadSession, reference: str) -> Artifact:
    """The artifact that an id, a name (its latest version) or `name@version` means. Raises `NotFound`."""
    name, version = parse_reference(reference)
    if is_id(name):
        row = rs.row(_BY_ID, {"ref": name})
    elif version is None:
        row = rs.row(_LATEST, {"ref": name})
    else:
        row = rs.row(_VERSION, {"ref": name, "version": version})
    return _ARTIFACT.made(found(row, "artifact", reference))


def get_many(rs: ReadSession, artifact_ids: Iterable[str]) -> dict[str, Artifact]:
    """Those of these artifacts that there are, by id."""
    wanted = sorted(set(artifact_ids))
    known = [_ARTIFACT.made(row) for row in rs.rows(_BY_IDS, {"ids": wanted})] if wanted else []
    return {artifact.id: artifact for artifact in known}


def page(
    rs: ReadSession,
    window: Window,
    *,
    run_id: str | None = None,
    step: str | None = None,
    name: str | None = None,
    within: frozenset[str] | None = None,
) -> Slice[Artifact]:
    """Artifacts, newest first: of this run, of the steps with this invocation id, of this name.

    With `within`, only those that runs of these templates have made.
    """
    statement = _ARTIFACTS
    if within is not None:
        statement = statement.where(artifacts.c.run_id.in_(ids_within(within)))
    if run_id is not None:
        statement = statement.where(artifacts.c.run_id == run_id)
    if step is not None:
        statement = statement.where(artifacts.c.step == step)
    if name is not None:
        statement = statement.where(artifacts.c.name == name)
    return cut(rs, statement, artifacts.c.id, window, _ARTIFACT.made)


def annotate(ws: WriteSession, artifact: Artifact) -> None:
    """Write the tags and the notes of an artifact: all that ever changes of one."""
    ws.change(_ANNOTATE, {"ref": artifact.id, "tags": artifact.tags, "user_metadata": artifact.user_metadata})


def note_uses(ws: WriteSession, uses: Iterable[Use]) -> None:
    """Remember where artifacts stand; what is known already changes nothing. Artifacts that there are not are left out."""
    rows = [_USE.row(use) for use in uses]
    known = get_many(ws, (row["artifact_id"] for row in rows)) if rows else {}
    ws.change(_INSERT_USE, [row for row in rows if row["artifact_id"] in known])


def uses_of(rs: ReadSession, artifact_id: str, limit: int) -> list[Use]:
    """The places in which an artifact stands, those in the newest runs first."""
    return [_USE.made(row) for row in rs.rows(_USES_OF, {"id": artifact_id, "limit": limit})]


def uses_of_run(rs: ReadSession, run_id: str, limit: int) -> list[Use]:
    """The artifacts that stand in a run, at most `limit` of its places."""
    return [_USE.made(row) for row in rs.rows(_USES_OF_RUN.limit(limit), {"run": run_id})]


def uses_in(rs: ReadSession, run_id: str, step: str) -> list[Use]:
    """The artifacts that a step run took and made."""
    return [_USE.made(row) for row in rs.rows(_USES_IN, {"run": run_id, "step": step})]


def unused(rs: ReadSession, before: datetime, *, after: str = _FIRST, limit: int = 200) -> list[Artifact]:
    """Artifacts made before that moment that stand in no run, by id, those that follow the id `after`."""
    return [_ARTIFACT.made(row) for row in rs.rows(_UNUSED, {"before": before, "after": after, "limit": limit})]


def remove_unused(ws: WriteSession, artifact_ids: Iterable[str]) -> int:
    """Remove those of these records that stand in no run now; how many those were."""
    wanted = sorted(set(artifact_ids))
    return ws.change(_REMOVE, {"ids": wanted}) if wanted else 0


def names(rs: ReadSession, limit: int) -> list[str]:
    """Some of the names that artifacts have, in alphabetical order."""
    return [row.name for row in rs.rows(_NAMES, {"limit": limit})]


def blobs(rs: ReadSession, *, without: Collection[str] = ()) -> set[str]:
    """The digests of all blobs that some record refers to; the records with these ids do not count."""
    digests: set[str] = set()
    after = _FIRST
    while True:
        rows = rs.rows(_FILES, {"after": after, "limit": _PORTION})
        for row in rows:
            if row.id not in without:
                digests.update(file.digest for file in row.files)
        if len(rows) < _PORTION:
            return digests
        after = rows[-1].id


def _version(ws: WriteSession, artifact: Artifact, number: int) -> str:
    wanted: Any = artifact.version
    if wanted is None:
        wanted = str(number)
    taken = ws.row(_VERSION, {"ref": artifact.name, "version": wanted}) is not None
    return f"{wanted}+{number}" if taken else str(wanted)
