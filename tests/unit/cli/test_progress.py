from __future__ import annotations

import datetime as dt
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.progress import _Board, _Live
from penstock.client.events import RunEvent

RUN_ID = "01900000-0000-7000-8000-000000000001"
TRACEBACK = 'Traceback (most recent call last):\n  File "flow.py", line 3, in fit\nValueError: bad\n'


@pytest.fixture
def watched(server: Any, run_json: Any) -> Callable[..., None]:
    """A run that goes on when it is first looked at, and has ended when its events have been told."""

    def make(events: Iterator[bytes], state: str = "completed", **fields: Any) -> None:
        server.on("GET", "/runs/train-1", run_json("running", ended=None))
        server.on("GET", f"/runs/{RUN_ID}", run_json(state, **fields))
        server.on("GET", f"/runs/{RUN_ID}/events", events)

    return make


def test_lines_as_things_happen(penstock: Any, watched: Any, told: Any) -> None:
    watched(
        told(
            ("run_queued", None, {"reason": None}),
            ("run_running", None, {}),
            ("step_queued", "load", {}),
            ("step_running", "load", {}),
            ("step_completed", "load", {}),
            ("step_skipped", "report", {"reason": "The run failed."}),
            ("run_completed", None, {}),
        ),
        outputs={"score": 0.93, "nothing": None, "model": {"artifact": "a1", "type": "m.Model"}},
    )
    done = penstock("run", "wait", "train-1")
    assert done.stderr.splitlines() == [
        "run train-1: queued",
        "run train-1: running",
        "step load: running",
        "step load: completed after 1.0 s",
        "step report: skipped (The run failed.)",
        "run train-1: completed",
    ]
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        ["Run", "train-1"],
        ["ID", RUN_ID],
        ["State", "completed"],
        ["Took", "2.0 s"],
        ["Outputs", "score = 0.93"],
        ["nothing", "= null"],
        ["model", "= artifact a1 (m.Model)"],
    ]


def test_a_failure_shows_the_users_traceback(penstock: Any, watched: Any, told: Any) -> None:
    error = {"type": "ValueError", "message": "bad", "traceback": TRACEBACK, "step": "fit"}
    watched(told(("step_failed", "fit", {"error": "bad"}), ("run_failed", None, {})), "failed", error=error)
    done = penstock("run", "wait", "train-1")
    assert done.status == 1
    assert "step fit: failed (bad)" in done.stderr
    assert TRACEBACK in done.stderr
    assert done.stderr.endswith("penstock run logs train-1\n")


def test_json_is_the_ended_run_alone(penstock: Any, watched: Any, told: Any) -> None:
    watched(told(("run_failed", None, {})), "failed", reason="why")
    done = penstock("run", "wait", "train-1", "-o", "json")
    assert (done.status, done.json["state"], done.json["reason"]) == (1, "failed", "why")


def test_quiet(penstock: Any, server: Any, watched: Any, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_QUIET", "1")
    watched(told())
    assert penstock("run", "wait", "train-1").stderr == ""
    assert [one.path for one in server.asked] == ["/runs/train-1", f"/runs/{RUN_ID}"]


def endless(events: Iterator[bytes], reached: threading.Event, until: threading.Event) -> Iterator[bytes]:
    """The events but for the end; then nothing more for as long as the test lasts."""
    for line in events:
        if line == b"event: end":
            break
        yield line
    reached.set()
    until.wait()


def test_leaving_says_how_to_come_back(home: Path, server: Any, watched: Any, told: Any) -> None:
    reached = threading.Event()
    watched(endless(told(("run_running", None, {})), reached, server.silent))
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", "wait", "train-1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert process.stderr.readline() == "run train-1: running\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "penstock run wait train-1" in err
    assert "penstock run cancel train-1" in err
    assert not [one for one in server.asked if one.method == "POST"]


def test_on_a_terminal_each_step_has_a_line(home: Path, watched: Any, told: Any) -> None:
    watched(
        told(
            ("run_running", None, {}),
            ("step_queued", "load", {}),
            ("step_running", "load", {}),
            ("step_completed", "load", {}),
            ("step_queued", "fit", {}),
            ("step_running", "fit", {}),
            ("step_failed", "fit", {"error": "bad value"}),
            ("run_failed", None, {}),
        ),
        "failed",
    )
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", "wait", "train-1", "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=its,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", "PYTHONIOENCODING": "utf-8"},
    )
    with process:
        os.close(its)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            shown += part
            if not part:
                break
        out, _ = process.communicate(timeout=20)
    os.close(ours)
    text = shown.decode()
    assert "✓ " in text
    assert "✗ " in text
    assert "bad value" in text
    assert b'"state": "failed"' in out
    assert b"\x1b" not in out


class TestManySteps:
    def board(self, count: int, ended: int) -> _Board:
        board = _Board("r")
        for number in range(count):
            state = "completed" if number < ended else "running"
            board.tell(RunEvent(number=number, at=dt.datetime.now(dt.UTC), type=f"step_{state}", step=f"step_{number}"))
        return board

    def test_those_that_have_ended_make_room(self) -> None:
        live = _Live(self.board(100, 90))
        shown = live.__rich__().plain.splitlines()
        assert len(shown) <= live._console.height
        assert "steps before" in shown[1]
        assert "step_99" in shown[-1]
