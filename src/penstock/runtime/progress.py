"""What a run in the caller's own terminal says while it goes on: how long steps took, and what is running when all is silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from penstock.model.run import Event, StepState
from penstock.runtime import terminal

LONG = 1.0
"""Seconds from which on the end of a step is told; the thousands that take less are counted."""

SILENCE = 10.0
"""Seconds without a word after which it is told what is running; then twice as many, and so on up to a minute."""

_TICK = 0.25
_NAMED = 4
_ENDED = {f"step_{state}" for state in StepState if state.terminal}


@contextmanager
def told(screen: TextIO) -> Iterator[Callable[[Event], None]]:
    """Tell on `screen` what happens to the steps of a run; gives a function that hears of each event of its journal."""
    teller = _Teller(screen)
    teller.start()
    try:
        yield teller.hear
    finally:
        teller.stop()


class _Teller(threading.Thread):
    """Says what it has heard, between two lines of the steps themselves."""

    def __init__(self, screen: TextIO) -> None:
        super().__init__(name="penstock-progress", daemon=True)
        self._screen = screen
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}
        self._done = 0
        self._news: list[str] = []
        self._patience = SILENCE
        self._stopped = threading.Event()

    def hear(self, event: Event) -> None:
        """Take in what has happened."""
        if event.step is None:
            return
        now = time.monotonic()
        with self._lock:
            if event.type == "step_started":
                self._running[event.step] = now
            elif event.type in _ENDED:
                self._done += 1
                seconds = now - self._running.pop(event.step, now)
                if seconds >= LONG:
                    state = event.type.removeprefix("step_")
                    self._news.append(f"step {event.step} {state} in {_duration(seconds)}")
            alone = not self._running
        if alone:
            self._say(self._due(silent=False))  # at once, before another step begins to draw its bars

    def run(self) -> None:
        while not self._stopped.wait(_TICK):
            self._say(self._due())

    def stop(self) -> None:
        """Say what is left to be said."""
        self._stopped.set()
        self.join()
        self._say(self._due(silent=False))

    def _due(self, *, silent: bool = True) -> list[str]:
        with self._lock:
            news, self._news = self._news, []
            if news:
                self._patience = SILENCE
            elif silent and self._running and terminal.silence() >= self._patience:
                self._patience = min(2 * self._patience, 60.0)
                news = [f"{self._done} steps have ended, running: {self._now_running()}"]
        return news

    def _now_running(self) -> str:
        now = time.monotonic()
        longest = sorted(self._running.items(), key=lambda one: one[1])
        named = ", ".join(f"{step} ({_duration(now - since)})" for step, since in longest[:_NAMED])
        return f"{named} and {len(longest) - _NAMED} more" if len(longest) > _NAMED else named

    def _say(self, news: list[str]) -> None:
        for text in news:
            terminal.show_line(self._screen, f"penstock: {text}")


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{seconds:.1f} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
