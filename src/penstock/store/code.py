"""Code archives: the bytes as files named by their digest, and a row for each that is whole."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from sqlalchemy import bindparam, select

from penstock.errors import InvalidInput, NotFound, Unavailable
from penstock.ids import digest_of, is_digest
from penstock.store.failures import translate_file
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import code_archives
from penstock.store.upsert import insert_new

_INSERT = insert_new(code_archives)
_EXISTS = select(code_archives.c.size).where(code_archives.c.digest == bindparam("digest"))


def keep(directory: Path, digest: str, data: bytes) -> int:
    """Write the archive into `directory`, whole or not at all, and be sure that it is on the disk; its size.

    Takes as long as the disk takes: do it before the transaction that calls `record`. Raises `InvalidInput` if the data
    is not what the digest says, `StorageFull` if there is no room, `Unavailable` if the directory cannot be written.
    """
    target = path(directory, digest)
    if digest_of(data) != digest:
        raise InvalidInput(
            f"The code archive does not have the digest {digest}: it was damaged on its way. Send it again."
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(target, data)
    except OSError as error:
        raise translate_file(error, target) from error
    return len(data)


def record(ws: WriteSession, digest: str, size: int, at: datetime) -> bool:
    """Note that the archive is kept; whether that is new."""
    return ws.change(_INSERT, {"digest": digest, "size": size, "created": at}) == 1


def exists(rs: ReadSession, directory: Path, digest: str) -> bool:
    """Whether the archive is kept: noted, and still in `directory`. In a write session it stays so until the end."""
    return rs.row(rs.held(_EXISTS, code_archives), {"digest": digest}) is not None and path(directory, digest).is_file()


def read(directory: Path, digest: str) -> bytes:
    """The bytes of the archive, checked. Raises `NotFound`, or `Unavailable` if the file is damaged."""
    source = path(directory, digest)
    try:
        data = source.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"There is no code archive {digest}.") from None
    except OSError as error:
        raise Unavailable(f"{source} could not be read: {error.strerror or error}.") from error
    if digest_of(data) != digest:
        raise Unavailable(f"The code archive {source} is damaged. Delete it and freeze the pipeline again.")
    return data


def path(directory: Path, digest: str) -> Path:
    """Where the archive is kept. Raises `InvalidInput` for what is no digest: nothing else becomes a path."""
    if not is_digest(digest):
        raise InvalidInput(f"'{digest}' is no SHA-256 in hexadecimal.")
    return directory / f"{digest}.tar"


def _write(target: Path, data: bytes) -> None:
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    # The new name is in the directory, which has to reach the disk too.
    handle = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
