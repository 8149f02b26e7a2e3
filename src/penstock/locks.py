"""Locks of files: whoever dies lets go of them, so they say who is alive."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


def is_held(path: Path, take: Callable[[int, int], None] = fcntl.flock) -> bool:
    """Whether somebody else holds the lock of this file, which is taken with `take`; of one that is not there nobody does.

    To look is to take it, if it is free, and to let go at once: who wants a lock and meets a look tries again. Raises `OSError`
    where nothing can be said, as when no more files can be opened: what is held must not pass for what is free.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        take(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
