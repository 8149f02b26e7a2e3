from __future__ import annotations

import io
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.model.run import Event
from penstock.runtime import progress
from penstock.runtime.progress import told


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 20
        while text not in self.getvalue():
            assert time.monotonic() < deadline, f"{text!r} never came: {self.getvalue()!r}"
            time.sleep(0.01)  # poll: a condition is waited for, with a deadline


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")


def event(type: Any, step: str | None = None) -> Event:
    return Event(seq=1, at=datetime.now(UTC), type=type, step=step)


def test_quick_steps_are_not_worth_a_word() -> None:
    screen = Screen()
    with told(screen) as hear:
        for type in ("run_started", "step_declared", "step_started", "log", "artifact", "step_completed"):
            hear(event(type, "fit"))
        hear(event("step_skipped", "report"))
    assert screen.getvalue() == ""


def test_the_end_of_a_long_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LONG", 0.0)
    screen = Screen()
    with told(screen) as hear:
        hear(event("step_started", "fit"))
        hear(event("step_completed", "fit"))
        screen.wait_for("penstock: step fit completed in 0.0 s\n")
        hear(event("step_started", "test"))
        hear(event("step_failed", "test"))
    assert screen.getvalue().splitlines()[1:] == ["penstock: step test failed in 0.0 s"]


def test_silence_is_broken_by_what_is_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SILENCE", 0.1)
    screen = Screen()
    with told(screen) as hear:
        hear(event("step_started", "load"))
        hear(event("step_completed", "load"))
        for number in range(6):
            hear(event("step_started", f"fit_{number}"))
        screen.wait_for("penstock: 1 steps have ended, running: fit_0 (")
        screen.wait_for("and 2 more\n")
    assert screen.getvalue().count("penstock:") < 5


def test_minutes_are_said_as_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, begun = Screen(), time.monotonic()
    with told(screen) as hear:
        hear(event("step_started", "fit"))
        with monkeypatch.context() as later:
            later.setattr(progress.time, "monotonic", lambda: begun + 90.4)
            hear(event("step_completed", "fit"))
    assert screen.getvalue() == "penstock: step fit completed in 1 min 30 s\n"
