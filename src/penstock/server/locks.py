"""One server a home: the lock that it holds for as long as it lives."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.errors import Conflict


@contextmanager
def only_server(home: Path, patience: float) -> Iterator[None]:
    """Hold the lock of this home's server. Another one may just be leaving: it is given `patience` seconds.

    Raises `Conflict`.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(home / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Conflict("Another server of this home is running; `penstock down` stops it.") from None
                time.sleep(0.02)  # flock has no timeout of its own
        yield
    finally:
        os.close(handle)
