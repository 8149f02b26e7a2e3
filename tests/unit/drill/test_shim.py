"""The library moves the wall clock of a real Python and nothing else, and ends a process where it was told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.drill.shim import POINTS, Shim, compiler

PROGRAM = """
import os, sys, time, datetime, sqlite3
for line in sys.stdin:
    if line == "time\\n":
        print(time.time(), datetime.datetime.now().timestamp(), sqlite3.connect(":memory:").execute("select unixepoch()").fetchone()[0], time.monotonic(), flush=True)
    else:
        with open("old", "w") as file:
            file.write("text")
            os.fsync(file.fileno())
        os.replace("old", "new")
        print("done", flush=True)
"""


@pytest.fixture
def shim(tmp_path: Path) -> Shim:
    found = compiler()
    if found is None:
        pytest.skip("There is no C compiler here, or this is not Linux: a drill leaves these faults out, and says so.")
    return Shim(tmp_path, found)


class Subject:
    """A Python with the library in it, which does one thing for each word."""

    def __init__(self, shim: Shim, place: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, **shim.environment},
            cwd=place,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def does(self, word: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def times(self) -> list[float]:
        return [float(one) for one in self.does("time").split()]

    def end(self) -> int:
        self.process.communicate()
        return self.process.returncode


def test_every_wall_clock_moves_and_the_monotonic_one_does_not(shim: Shim, tmp_path: Path) -> None:
    subject = Subject(shim, tmp_path)
    *before, steady = subject.times()
    for shift in (86400, -3600, 0):
        shim.shift(shift)
        *after, later = subject.times()
        assert all(abs(new - old - shift) < 60 for old, new in zip(before, after, strict=True))
        assert 0 <= later - steady < 60
    assert subject.end() == 0


@pytest.mark.parametrize("point", POINTS)
def test_a_process_ends_at_the_point_that_was_named(shim: Shim, tmp_path: Path, point: str) -> None:
    subject = Subject(shim, tmp_path)
    assert subject.does("write") == "done"
    (tmp_path / "new").unlink()
    shim.arm(point, 2)
    assert subject.does("write") == "done"  # the second time it is meant
    (tmp_path / "new").unlink()
    assert subject.does("write") == ""
    assert subject.end() == -signal.SIGKILL
    assert shim.victim(1) == subject.process.pid
    assert (tmp_path / "new").exists() is (point == "after a rename")


def test_a_point_that_was_disarmed_ends_nobody(shim: Shim, tmp_path: Path) -> None:
    subject = Subject(shim, tmp_path)
    shim.arm("after a sync", 1)
    shim.disarm()
    assert subject.does("write") == "done"
    assert shim.victim(0) is None
    assert subject.end() == 0
