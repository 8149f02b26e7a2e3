"""Artifacts over HTTP: their records, and their bytes as they are. The server never loads a value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from penstock.control.stacks import DEFAULT
from penstock.errors import found as must_find
from penstock.model.artifact import Artifact
from penstock.server.access import Here, Reader
from penstock.server.bodies import ListQuery, Page, answer, listing
from penstock.server.strict_json import StrictRoute
from penstock.store import artifacts as stored
from penstock.store import stacks

router = APIRouter(route_class=StrictRoute, prefix="/artifacts", tags=["artifacts"])

_CHUNK = 1024 * 1024


class ArtifactQuery(ListQuery):
    """Filters of the list."""

    run_id: str | None = None
    step: str | None = None


@router.get("", response_model=Page[Artifact])
def list_artifacts(here: Here, _: Reader, query: Annotated[ArtifactQuery, Query()]) -> Response:
    """All artifacts, newest first."""
    with here.db.read() as session:
        return listing(stored.page(session, query.window, **query.filters()), query)


@router.get("/{artifact_id}", response_model=Artifact)
def get_artifact(here: Here, _: Reader, artifact_id: str) -> Response:
    """One artifact, by id."""
    with here.db.read() as session:
        return answer(stored.get(session, artifact_id))


@router.get("/{artifact_id}/files/{name:path}", response_class=StreamingResponse)
def get_artifact_file(request: Request, here: Here, _: Reader, artifact_id: str, name: str) -> Response:
    """One file of an artifact, as an attachment that no browser executes."""
    with here.db.read() as session:
        artifact = stored.get(session, artifact_id)
        stack = stacks.get(session, DEFAULT)
    file = must_find(next((one for one in artifact.files if one.name == name), None), "file of the artifact", name)
    reader = request.app.state.artifact_store(stack.components["artifact_store"]).open(file.digest)
    headers = {
        "Content-Length": str(file.size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name.rpartition('/')[2])}",
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
        "ETag": f'"{file.digest}"',
    }
    return StreamingResponse(_chunks(reader), headers=headers, media_type="application/octet-stream")


def _chunks(reader: BinaryIO) -> Iterator[bytes]:
    with reader:
        while chunk := reader.read(_CHUNK):
            yield chunk
