"""Code archives over HTTP, under the digest of their bytes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from penstock.control.installation import Installation, now
from penstock.errors import NotFound
from penstock.model import archive
from penstock.server.access import Here, WorkReader, Writer
from penstock.server.bodies import takes
from penstock.server.noun import Noun
from penstock.store import code

Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256, in lower-case hexadecimal.")]

router = Noun("/code", "code")

TAR_OVERHEAD = 16 * 1024 * 1024
"""Bytes for the headers and the padding of the largest number of files in an archive."""


_TAR = takes("application/octet-stream", {"type": "string", "format": "binary"})


@router.put("/{digest}", status_code=204, openapi_extra=_TAR)
async def put_code(request: Request, here: Here, _: Writer, digest: Digest) -> Response:
    """Upload a code archive (an uncompressed tar) under its SHA-256. Uploading it again changes nothing.

    422 for one that could not be unpacked safely everywhere.
    """
    await run_in_threadpool(_keep, here, digest, await request.body())
    return Response(status_code=204)


@router.get("/{digest}", response_class=FileResponse)
@router.head("/{digest}", response_class=FileResponse, include_in_schema=False)
def get_code(here: Here, _: WorkReader, digest: Digest) -> Response:
    """The code archive under this SHA-256."""
    path = code.path(here.code_directory, digest)
    if not path.is_file():
        raise NotFound(f"There is no code archive {digest}.")
    return FileResponse(path, media_type="application/x-tar", headers={"ETag": f'"{digest}"'})


def _keep(here: Installation, digest: str, body: bytes) -> None:
    archive.check(body, here.settings.max_archive)
    size = code.keep(here.code_directory, digest, body)
    with here.db.write() as session:
        code.record(session, digest, size, now())
