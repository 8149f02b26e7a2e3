from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from penstock import locks


def test_a_lock_is_held_until_it_is_let_go_of_and_looking_does_not_take_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    assert not locks.is_held(path)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert locks.is_held(path)
    os.close(handle)
    assert not locks.is_held(path)


def test_what_cannot_be_told_is_not_taken_for_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(locks.os, "open", exhausted)
    with pytest.raises(OSError, match="Too many"):
        locks.is_held(tmp_path / "lock")
