"""What tests of captured output share."""

from __future__ import annotations

import threading

from penstock.model.run import LogLine
from penstock.runtime.logs import Capture


class Log:
    """A sink that can be waited for."""

    def __init__(self) -> None:
        self.batches: list[list[LogLine]] = []
        self._changed = threading.Condition()

    def __call__(self, batch: list[LogLine]) -> None:
        with self._changed:
            self.batches.append(batch)
            self._changed.notify_all()

    @property
    def lines(self) -> list[LogLine]:
        return [line for batch in self.batches for line in batch]

    def of(self, step: str | None, stream: str | None = None) -> list[str]:
        return [line.text for line in self.lines if line.step == step and stream in (None, line.stream)]

    def wait_for(self, text: str) -> LogLine:
        def found() -> LogLine | None:
            return next((line for line in self.lines if line.text == text), None)

        with self._changed:
            assert self._changed.wait_for(found, timeout=20), f"{text!r} never came; {self.lines}"
        line = found()
        assert line is not None
        return line


def quiet(log: Log) -> Capture:
    """A capture in the test's own process that shows nothing."""
    return Capture(log, own_process=False, tee=False)
