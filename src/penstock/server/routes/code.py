"""Code archives over HTTP, under the digest of their bytes."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from penstock.control.installation import Installation, now
from penstock.errors import InvalidInput, NotFound, fault
from penstock.ids import is_digest
from penstock.server.access import Here, Reader, Writer
from penstock.server.noun import Noun
from penstock.store import code

router = Noun("/code", "code")

TAR_OVERHEAD = 16 * 1024 * 1024
"""Bytes for the headers and the padding of the largest number of files in an archive."""


@router.put("/{digest}", status_code=204)
async def put_code(request: Request, here: Here, _: Writer, digest: str) -> Response:
    """Upload a code archive (an uncompressed tar) under its SHA-256. Uploading it again changes nothing."""
    await run_in_threadpool(_keep, here, _checked(digest), await request.body())
    return Response(status_code=204)


@router.get("/{digest}", response_class=FileResponse)
@router.head("/{digest}", response_class=FileResponse, include_in_schema=False)
def get_code(here: Here, _: Reader, digest: str) -> Response:
    """The code archive under this SHA-256."""
    path = code.path(here.code_directory, _checked(digest))
    if not path.is_file():
        raise NotFound(f"There is no code archive {digest}.")
    return FileResponse(path, media_type="application/x-tar", headers={"ETag": f'"{digest}"'})


def _keep(here: Installation, digest: str, body: bytes) -> None:
    size = code.keep(here.code_directory, digest, body)
    with here.db.write() as session:
        code.record(session, digest, size, now())


def _checked(digest: str) -> str:
    if not is_digest(digest):
        mistake = fault("/path/digest", "A SHA-256 in lower-case hexadecimal is expected.")
        raise InvalidInput("This is no digest.", errors=[mistake])
    return digest
