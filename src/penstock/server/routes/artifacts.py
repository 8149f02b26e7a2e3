"""Artifacts over HTTP: their records, and their bytes as they are. The server never loads a value."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote

from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from penstock.control import artifacts
from penstock.control.installation import Installation
from penstock.control.stacks import DEFAULT
from penstock.errors import found as must_find
from penstock.model.artifact import Artifact, Lineage, Pruned
from penstock.server.access import ArtifactReader, ArtifactRunner, Here, ListReader, Manager, Reader, WorkRunner
from penstock.server.bodies import REPORT, ListQuery, Page, Strict, answer, listing, record
from penstock.server.noun import Noun
from penstock.stack.contracts import ArtifactStore
from penstock.store import artifacts as stored
from penstock.store import stacks

router = Noun("/artifacts", "artifacts")

_CHUNK = 1024 * 1024


class ArtifactQuery(ListQuery):
    """Filters of the list."""

    run_id: str | None = None
    step: str | None = None
    name: str | None = None


class LineageQuery(BaseModel):
    """How many places in which the artifact stands are to be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(default=100, ge=1, le=1000)


class AnnotateArtifact(Strict):
    """What to note on an artifact."""

    user_metadata: dict[str, Any] = Field(default={})
    add_tags: tuple[str, ...] = Field(default=(), max_length=50)
    remove_tags: tuple[str, ...] = Field(default=(), max_length=50)


class PruneArtifacts(Strict):
    """What may go: artifacts that stand in no run, and blobs that no artifact has."""

    older_than_days: float = Field(default=1, ge=0, le=36500)
    named: bool = Field(default=False, description="Also those with a name.")
    dry_run: bool = False


@router.post("", response_model=Artifact, status_code=201, openapi_extra=REPORT)
def register_artifact(
    request: Request, here: Here, _: WorkRunner, wanted: Annotated[Artifact, record(Artifact)]
) -> Response:
    """Keep the record of a value whose files are in the artifact store already."""
    store = _store(request, here)
    with here.db.write() as session:
        return answer(artifacts.register(session, wanted, store), 201)


@router.get("", response_model=Page[Artifact])
def list_artifacts(here: Here, who: ListReader, query: Annotated[ArtifactQuery, Query()]) -> Response:
    """All artifacts, newest first."""
    with here.db.read() as session:
        return listing(stored.page(session, query.window, **query.filters(), within=who.within), query)


@router.post("/prune", response_model=Pruned)
def prune_artifacts(request: Request, here: Here, _: Manager, wanted: PruneArtifacts) -> Response:
    """Remove what nobody refers to. Nothing younger than an hour ever goes."""
    age = timedelta(days=wanted.older_than_days)
    store = _store(request, here)
    return answer(artifacts.prune(here, store, older_than=age, dry_run=wanted.dry_run, named=wanted.named))


@router.get("/{reference}", response_model=Artifact)
def get_artifact(here: Here, _: ArtifactReader, reference: str) -> Response:
    """One artifact: by id, by name (its latest version), or as `name@version`."""
    with here.db.read() as session:
        return answer(artifacts.resolve(session, reference))


@router.patch("/{reference}", response_model=Artifact)
def annotate_artifact(here: Here, _: ArtifactRunner, reference: str, wanted: AnnotateArtifact) -> Response:
    """Note metadata and tags on an artifact. Nothing else of it can be changed."""
    notes = artifacts.Notes(**wanted.model_dump())
    with here.db.write() as session:
        return answer(artifacts.annotate(session, reference, notes))


@router.get("/{reference}/lineage", response_model=Lineage)
def get_lineage(here: Here, _: Reader, reference: str, query: Annotated[LineageQuery, Query()]) -> Response:
    """Where an artifact comes from, and in which runs it stands."""
    with here.db.read() as session:
        return answer(artifacts.lineage(session, reference, query.limit))


@router.get("/{reference}/files/{name:path}", response_class=StreamingResponse)
def get_artifact_file(request: Request, here: Here, _: ArtifactReader, reference: str, name: str) -> Response:
    """One file of an artifact, as an attachment that no browser executes."""
    with here.db.read() as session:
        artifact = artifacts.resolve(session, reference)
    file = must_find(next((one for one in artifact.files if one.name == name), None), "file of the artifact", name)
    reader = _store(request, here).open(file.digest)
    headers = {
        "Content-Length": str(file.size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name.rpartition('/')[2])}",
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
        "ETag": f'"{file.digest}"',
    }
    return StreamingResponse(_chunks(reader), headers=headers, media_type="application/octet-stream")


def _store(request: Request, here: Installation) -> ArtifactStore:
    """The artifact store of this installation."""
    with here.db.read() as session:
        stack = stacks.get(session, DEFAULT)
    found: ArtifactStore = request.app.state.artifact_store(stack.components["artifact_store"])
    return found


def _chunks(reader: BinaryIO) -> Iterator[bytes]:
    with reader:
        while chunk := reader.read(_CHUNK):
            yield chunk
