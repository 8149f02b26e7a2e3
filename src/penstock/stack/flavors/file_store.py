"""An artifact store in a folder: each blob is a file named by its SHA-256 (`sha256/ab/cdef...`)."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from penstock.errors import ArtifactError, InvalidInput, NotFound, StorageFull, Unavailable, fault, pointer
from penstock.ids import is_digest

_CHUNK = 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORGOTTEN = 24 * 3600.0


class FileStore:
    """Blobs in a folder that several processes, also on several machines, may share.

    A blob is written under another name in the same folder and moved into place when it is whole. There is no `fsync`:
    a machine that loses power may leave a blob short, which every checked read reports and the next `put` mends.
    """

    def __init__(self, path: str | Path) -> None:
        """`path` is absolute (or begins with `~`); the folder is made when the first blob comes."""
        root = Path(path).expanduser()
        if not root.is_absolute():
            problem = fault(pointer("path"), "An absolute path is needed: every process has its own working directory.")
            raise InvalidInput(f"The artifact store cannot be in '{path}'.", errors=[problem])
        self._root = root
        self._blobs = root / "sha256"
        self._unfinished = root / "unfinished"
        self._forget_unfinished()

    def put(self, data: bytes | Path) -> tuple[str, int]:
        """Store bytes or a file's content; a file is hashed while it is copied, and never held in memory."""
        if isinstance(data, Path):
            return self._put_file(data)
        digest, size = sha256(data).hexdigest(), len(data)
        target = self._path(digest)
        with self._reported():
            if not self._renewed(target, size):
                with self._new() as (temporary, descriptor):
                    _write(descriptor, data)
                    _move(temporary, target)
        return digest, size

    def get(self, digest: str) -> bytes:
        """The blob's bytes, checked against the digest."""
        with self.open(digest) as blob, self._reported():
            data = blob.read()
        self._check(digest, sha256(data).hexdigest())
        return data

    def fetch(self, digest: str, target: Path) -> None:
        """Write the blob to `target`, which is there when it is whole and checked, and not before."""
        temporary = target.with_name(f".{os.urandom(12).hex()}")
        with self.open(digest) as blob, self._reported():
            try:
                with temporary.open("xb", buffering=0) as copy:
                    found, _ = _copy(blob, copy.fileno())
                self._check(digest, found)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def exists(self, digest: str) -> bool:
        """Whether the blob is there."""
        target = self._path(digest)
        with self._reported():
            return _holds(target)

    def open(self, digest: str) -> BinaryIO:
        """A reader of the blob, unchecked."""
        target = self._path(digest)
        with self._reported():
            try:
                return target.open("rb")
            except FileNotFoundError:
                raise self._absent(digest) from None

    def facts(self, digest: str) -> tuple[int, datetime]:
        """The blob's size in bytes, and when it was stored last."""
        target = self._path(digest)
        with self._reported():
            try:
                found = target.stat()
            except FileNotFoundError:
                raise self._absent(digest) from None
        return found.st_size, datetime.fromtimestamp(found.st_mtime, UTC)

    def delete(self, digest: str, *, stored_before: datetime) -> bool:
        """Remove the blob. Nobody makes it young between the look at its age and its end."""
        target = self._path(digest)
        with self._reported(), self._turn(fcntl.LOCK_EX):
            try:
                if datetime.fromtimestamp(target.stat().st_mtime, UTC) >= stored_before:
                    return False
                target.unlink()
            except FileNotFoundError:
                return False
        return True

    def digests(self) -> Iterator[str]:
        """The digests of all blobs, in no order."""
        with self._reported():
            for folder in _inside(self._blobs):
                for blob in _inside(folder):
                    digest = folder.name + blob.name
                    if is_digest(digest):
                        yield digest

    def _put_file(self, source: Path) -> tuple[str, int]:
        with source.open("rb") as content, self._reported(), self._new() as (temporary, descriptor):
            digest, size = _copy(content, descriptor)
            target = self._path(digest)
            # Moving over a file that is there makes some file systems write it to the disk at once.
            if self._renewed(target, size):
                temporary.unlink()
            else:
                _move(temporary, target)
        return digest, size

    def _renewed(self, target: Path, size: int) -> bool:
        """Whether the blob is there whole; it counts as stored now, since its age is what keeps it from being removed."""
        if not _holds(target, size):
            return False
        with self._turn(fcntl.LOCK_SH):
            try:
                os.utime(target)
            except FileNotFoundError:  # removed before it was our turn
                return False
        return True

    @contextmanager
    def _turn(self, kind: int) -> Iterator[None]:
        """Those who renew blobs go together, those who remove them alone."""
        descriptor = os.open(self._root / "turn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _absent(self, digest: str) -> NotFound:
        return NotFound(f"The artifact store in {self._root} has no blob {digest}.")

    def _path(self, digest: str) -> Path:
        if not is_digest(digest):
            problem = fault("", "A blob is named by its SHA-256: 64 digits of lower-case hexadecimal.")
            raise InvalidInput(f"{digest[:100]!r} names no blob.", errors=[problem])
        return self._blobs / digest[:2] / digest[2:]

    @contextmanager
    def _new(self) -> Iterator[tuple[Path, int]]:
        """A new file that nobody else knows, open for writing; removed if it could not be finished."""
        name = self._unfinished / os.urandom(12).hex()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, 0o444)  # nobody changes a blob, not even its owner by mistake
        except FileNotFoundError:
            self._unfinished.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(name, flags, 0o444)
        try:
            yield name, descriptor
        except BaseException:
            with suppress(OSError):
                name.unlink()
            raise
        finally:
            os.close(descriptor)

    def _check(self, digest: str, found: str) -> None:
        if found != digest:
            raise ArtifactError(
                f"Blob {digest} in {self._root} is damaged: its content has the SHA-256 {found}. "
                "Put it back from a copy, or run again the step that made it."
            )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """What the file system refuses, in the words of the contract."""
        try:
            yield
        except OSError as error:
            where = error.filename or self._root
            if error.errno in _FULL:
                raise StorageFull(f"There is no room left for artifacts: {error.strerror} ({where}).") from error
            raise Unavailable(
                f"The artifact store in {self._root} cannot be used: {error.strerror} ({where})."
            ) from error

    def _forget_unfinished(self) -> None:
        """Remove what writers that were killed have left, once it is a day old."""
        with suppress(OSError):
            for file in _inside(self._unfinished):
                if file.stat().st_mtime < time.time() - _FORGOTTEN:
                    file.unlink()


def _holds(target: Path, size: int | None = None) -> bool:
    try:
        found = target.stat()
    except FileNotFoundError:
        return False
    return size is None or found.st_size == size


def _move(temporary: Path, target: Path) -> None:
    try:
        temporary.replace(target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)


def _copy(source: BinaryIO, descriptor: int) -> tuple[str, int]:
    digest, size = sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        _write(descriptor, chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _inside(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from folder.iterdir()
