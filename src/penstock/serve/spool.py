"""Records of requests on their way to the server, on disk: bounded, and safe from the death of the process.

Segments are files of lines. One process appends to its own, named after it; whoever tells the server takes them from the
oldest on, and removes each when all of it is acknowledged. What is told twice changes nothing the second time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SEGMENT = 1024 * 1024
"""Bytes of a segment, about."""

MOST_REFUSED = 10
"""Segments that the server did not take and that are kept for whoever looks into it; the oldest go first."""


class Spool:
    """The spool in a directory, as one process uses it. One thread may write while another one reads and removes."""

    def __init__(self, directory: Path, limit: int) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._directory = directory
        self._limit = limit
        self._current: Path | None = None
        self._file = -1
        self._written = 0
        self._size = self._bytes()

    @property
    def size(self) -> int:
        """Bytes that wait, about: another process may have removed some."""
        return self._size

    def append(self, lines: Sequence[bytes]) -> bool:
        """Write these lines in one go; whether there was room. A disk that is full has none."""
        data = b"".join(line + b"\n" for line in lines)
        with self._lock:
            return self._appended(data)

    def _appended(self, data: bytes) -> bool:
        if self._size + len(data) > self._limit:
            self._size = self._bytes()
            if self._size + len(data) > self._limit:
                return False
        try:
            if self._file < 0:
                self._open()
            if os.write(self._file, data) < len(data):  # the disk is full: half a line must not begin the next one
                os.ftruncate(self._file, self._written)
                return False
        except OSError:
            self.rotate()
            return False
        self._written += len(data)
        self._size += len(data)
        if self._written >= SEGMENT:
            self.rotate()
        return True

    def rotate(self) -> None:
        """End the segment: it may be told from now on."""
        with self._lock:
            if self._file >= 0:
                with suppress(OSError):
                    os.close(self._file)
            self._file, self._current, self._written = -1, None, 0

    def oldest(self) -> Path | None:
        """The oldest segment that nobody writes to any more: of this process, or of one that has ended."""
        with self._lock:  # a segment that is begun meanwhile is not among them
            current, known = self._current, sorted(self._directory.glob("*.jsonl"))
        for path in known:
            if path != current and not _alive(path):
                return path
        return None

    def remove(self, segment: Path) -> None:
        """All of it has arrived."""
        with suppress(OSError), self._lock:
            self._size -= segment.stat().st_size
            segment.unlink()

    def refuse(self, segment: Path) -> None:
        """It will never be taken: it waits no more, and is kept beside the others for a while."""
        with suppress(OSError), self._lock:
            self._size -= segment.stat().st_size
            segment.rename(segment.with_suffix(".refused"))
        for one in sorted(self._directory.glob("*.refused"))[:-MOST_REFUSED]:
            one.unlink(missing_ok=True)

    def _bytes(self) -> int:
        found = 0
        for path in self._directory.glob("*.jsonl"):
            with suppress(FileNotFoundError):  # another process has told it in the meantime
                found += path.stat().st_size
        return found

    def _open(self) -> None:
        self._current = self._directory / f"{time.time_ns():020d}-{os.getpid()}.jsonl"
        self._file = os.open(self._current, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _alive(segment: Path) -> bool:
    """Whether another process may still write there."""
    pid = segment.stem.rpartition("-")[2]
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
