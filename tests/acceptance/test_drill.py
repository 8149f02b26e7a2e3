"""The short drill: a server and its workers are killed while clients trigger, cancel and look."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SEED = 11
PATIENCE = 280


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short name: where it is long a drill takes another one, since sockets lie in it."""
    path = Path(tempfile.mkdtemp(prefix="pk-"))
    yield path
    shutil.rmtree(path)


def drill(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock", "drill", *options],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.timeout(PATIENCE + 10)
def test_nothing_is_lost_doubled_stuck_or_leaked(place: Path) -> None:
    home = place / "home"
    done = drill(
        "--seconds",
        "6",
        "--seed",
        str(SEED),
        "--faults",
        "server,worker",
        "-o",
        "json",
        PENSTOCK_HOME=str(home),
        TMPDIR=str(place),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["counts"] == {"lost": 0, "doubled": 0, "stuck": 0, "leaked": 0, "wrong": 0}
    assert report["seed"] == SEED
    assert set(report["faults"]) <= {"server", "worker"}
    assert sum(report["faults"].values()) > 0
    assert report["runs"]["completed"] > 10
    assert report["promised"] <= sum(report["runs"].values())
    assert not home.exists()  # one's own home is left alone
    assert list(place.iterdir()) == []
    assert not [one for one in psutil.process_iter(["environ"]) if str(place) in str(one.info["environ"])]


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--faults", "sever"), "no fault 'sever'"), (("--seconds", "0"), "greater than or equal to 1")],
)
def test_a_drill_that_cannot_be_held_is_refused(options: tuple[str, ...], words: str) -> None:
    done = drill(*options)
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.timeout(PATIENCE + 10)
def test_one_that_is_broken_off_leaves_no_process(place: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "drill", "--seconds", "200", "--faults", "worker"],
        env={**os.environ, "TMPDIR": str(place)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = iter(process.stderr.readline, "")
    assert any("breaking things" in line for line in said)
    process.send_signal(signal.SIGINT)
    assert any(f"lies in {place}" in line for line in said)
    assert process.wait(PATIENCE) != 0
    process.stderr.close()
    assert not [one for one in psutil.process_iter(["environ"]) if str(place) in str(one.info["environ"])]
