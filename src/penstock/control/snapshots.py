"""Snapshots: taking in frozen pipelines, and finding them again."""

from __future__ import annotations

from penstock.control.installation import Installation, now
from penstock.errors import CodeMissing, InvalidInput, NotFound, fault
from penstock.ids import check_name, is_id
from penstock.model import fitting
from penstock.model.inputs import check_given
from penstock.model.snapshot import FORMAT, Content, Snapshot, snapshot_id
from penstock.store import code, pipelines, snapshots
from penstock.store.session import ReadSession, WriteSession


def create(
    ws: WriteSession, installation: Installation, content: Content, *, name: str | None = None
) -> tuple[Snapshot, bool]:
    """Keep a frozen pipeline, and give it `name` if there is one. Returns the snapshot, and whether it is new.

    The same content is the same snapshot. Raises `CodeMissing` while its code archive has not been uploaded.
    """
    if content.format != FORMAT:
        mistake = fault("/content/format", f"This server reads format {FORMAT}.", allowed=[str(FORMAT)])
        raise InvalidInput(f"Format {content.format} of a snapshot is not known here.", errors=[mistake])
    check_name(content.pipeline, what="pipeline", at="/content/pipeline")
    if name is not None:
        check_name(name, what="snapshot")
    if content.environment.requires is not None:
        fitting.checked(content.environment.requires, at=("content", "environment", "requires"))
    if content.code is not None and not code.exists(ws, installation.code_directory, content.code):
        raise CodeMissing(f"Upload the code archive first: PUT /api/v1/code/{content.code}.")
    at = now()
    check_given(Snapshot(id="", pipeline_id="", content=content, created=at))
    pipeline = pipelines.get_or_create(ws, content.pipeline, at)
    snapshot = Snapshot(id=snapshot_id(content), pipeline_id=pipeline.id, content=content, created=at)
    created = snapshots.insert(ws, snapshot)
    if name is not None:
        snapshots.set_name(ws, pipeline.id, name, snapshot.id)
    return snapshots.get(ws, snapshot.id), created


def get(rs: ReadSession, reference: str, *, pipeline: str | None = None) -> Snapshot:
    """The snapshot with this id or name. A name that several pipelines use needs the `pipeline`."""
    return snapshots.get(rs, reference) if is_id(reference) else snapshots.by_name(rs, reference, pipeline)


def latest_runnable(rs: ReadSession, pipeline_reference: str) -> Snapshot:
    """The newest snapshot of a pipeline that a launcher can carry out."""
    pipeline = pipelines.get(rs, pipeline_reference)
    snapshot = snapshots.latest_runnable(rs, pipeline.id)
    if snapshot is None:
        raise NotFound(
            f"Pipeline '{pipeline.name}' has no snapshot that can be run: its code was never archived. "
            "Freeze it again with create_snapshot()."
        )
    return snapshot
