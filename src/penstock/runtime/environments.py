"""The environments of a home: each a Python with packages, in a directory named by the digest of what is in it.

One is there whole or not at all: it is built under another name, and renamed when it is done. Whoever builds or removes one
holds its lock alone; whoever uses one shares the lock, so that it is not removed meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from penstock.errors import NotFound
from penstock.ids import is_digest
from penstock.locks import is_held
from penstock.model.requirements import Requirements
from penstock.model.wire import reader

_RECORD = "penstock.json"


@dataclass(frozen=True, kw_only=True)
class Built:
    """What is known of an environment that is there."""

    digest: str
    python: str
    """The version of its Python."""

    requires: Requirements
    """What it was built for."""

    packages: tuple[str, ...]
    """What is installed in it, each with its version: what the requirements were resolved to."""

    built: datetime
    seconds: float
    size: int
    """Bytes of its files. The disk may hold less: uv links what it has in its cache."""


@dataclass(frozen=True, kw_only=True)
class Kept(Built):
    """An environment with what became of it."""

    used: datetime
    """When a run, or a process that is ready for runs, was last given it."""

    in_use: bool
    """Whether somebody uses it now."""


class Environments:
    """The environments of the home at `home`. Safe to use from any number of processes."""

    def __init__(self, home: str | Path) -> None:
        self._root = Path(home).resolve() / "environments"

    def executable(self, digest: str) -> str:
        """The Python of an environment, whether or not it is there."""
        return str(self._root / digest / "bin" / "python")

    def find(self, digest: str) -> Built | None:
        """The environment, if it is there and its Python is."""
        try:
            built = reader(Built)((self._root / digest / _RECORD).read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return built if os.access(self.executable(digest), os.X_OK) else None

    def hold(self, digest: str) -> int | None:
        """A descriptor that keeps the environment from being removed until it is closed, and notes that it is used.

        None if it is not there whole, or is being removed.
        """
        try:
            handle = os.open(self._lock(digest), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if self._is_lock(handle, digest) and self.find(digest) is not None:
                os.utime(handle)
                return handle
        os.close(handle)
        return None

    @contextmanager
    def building(self, digest: str) -> Iterator[Path | None]:
        """A directory in which to build this environment, alone; None if somebody else has built it meanwhile.

        Waits while somebody does. What is in the directory when the block ends becomes the environment; if it raises,
        nothing is left.
        """
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone(digest):
            if self.find(digest) is not None:
                yield None
                return
            self._clear(f".building-{digest}-*")
            work = Path(tempfile.mkdtemp(prefix=f".building-{digest}-", dir=self._root))
            try:
                yield work
                self._discard(digest)  # there, and not whole: its Python is gone
                work.rename(self._root / digest)
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def record(self, work: Path, built: Built) -> None:
        """Write what is known of the environment in `work`: what makes it whole."""
        (work / _RECORD).write_bytes(msgspec.json.encode(built))

    def all(self) -> list[Kept]:
        """Those that are there, the latest used first."""
        names = sorted(one.name for one in self._root.iterdir()) if self._root.is_dir() else []
        found = [self._kept(built) for name in names if is_digest(name) and (built := self.find(name)) is not None]
        return sorted(found, key=lambda one: one.used, reverse=True)

    def named(self, reference: str) -> Kept:
        """The one whose digest begins like this. Raises `NotFound` if there is none, or more than one."""
        found = [one for one in self.all() if one.digest.startswith(reference)]
        if len(found) != 1:
            raise NotFound(
                f"{'No environment' if not found else 'More than one environment'} begins with '{reference}'."
            )
        return found[0]

    def prune(self, unused: timedelta, *, rehearse: bool = False) -> list[Kept]:
        """Remove what nobody has used for so long, except what is in use; those that were removed.

        What crashed builders left goes too. With `rehearse` nothing is removed.
        """
        before = datetime.now(UTC) - unused
        old = [one for one in self.all() if one.used <= before and not one.in_use]
        if rehearse:
            return old
        gone = [one for one in old if self._remove(one.digest, before)]
        if self._root.is_dir():
            self._sweep()
        return gone

    def _kept(self, built: Built) -> Kept:
        lock = self._lock(built.digest)
        used = datetime.fromtimestamp(lock.stat().st_mtime, UTC) if lock.exists() else built.built
        return Kept(
            **{name: getattr(built, name) for name in Built.__dataclass_fields__}, used=used, in_use=is_held(lock)
        )

    def _remove(self, digest: str, before: datetime) -> bool:
        try:
            with self._alone(digest, wait=False):
                if datetime.fromtimestamp(self._lock(digest).stat().st_mtime, UTC) > before:
                    return False  # somebody used it since we looked
                self._discard(digest)
        except BlockingIOError:
            return False
        return True

    def _discard(self, digest: str) -> None:
        """Take an environment away, all at once, and then its files. To be called by who holds its lock alone."""
        place = self._root / digest
        if place.exists():
            going = Path(tempfile.mkdtemp(prefix=".removing-", dir=self._root))
            place.rename(going / digest)
            shutil.rmtree(going, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what dead builders, and those who were removing, have left."""
        self._clear(".removing-*")
        for work in self._root.glob(".building-*"):
            digest = work.name.split("-")[1]
            with suppress(BlockingIOError), self._alone(digest, wait=False):
                shutil.rmtree(work, ignore_errors=True)

        for lock in self._root.glob("*.lock"):
            if not (self._root / lock.stem).exists():
                with suppress(BlockingIOError), self._alone(lock.stem, wait=False):
                    lock.unlink()

    def _clear(self, pattern: str) -> None:
        for left in self._root.glob(pattern):
            shutil.rmtree(left, ignore_errors=True)

    def _lock(self, digest: str) -> Path:
        return self._root / f"{digest}.lock"

    @contextmanager
    def _alone(self, digest: str, *, wait: bool = True) -> Iterator[None]:
        handle = -1
        try:
            while handle < 0 or not self._is_lock(handle, digest):
                if handle >= 0:
                    os.close(handle)
                handle = os.open(self._lock(digest), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            if handle >= 0:
                os.close(handle)

    def _is_lock(self, handle: int, digest: str) -> bool:
        """Whether this is still the lock of the environment: those of environments that are gone are removed."""
        try:
            return os.path.samestat(os.fstat(handle), self._lock(digest).stat())
        except FileNotFoundError:
            return False


def is_full(error: OSError) -> bool:
    """Whether it says that there is no room on the disk."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
