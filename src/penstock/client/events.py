"""The history of a run as it is told live: its entries, and the reader of server-sent events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from penstock.errors import PenstockError
from penstock.model.wire import reader


@dataclass(frozen=True, kw_only=True)
class RunEvent:
    """One entry of a run's history: `type` is `run_` or `step_` and the state that the run, or `step`, is in from `at` on.

    `number` grows from entry to entry. `data` has a `reason` and, for a failed step, an `error`, or None for each.
    """

    number: int
    at: datetime
    type: str
    step: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


class EventStream:
    """The entries in a stream of server-sent events. After it, `ended` says whether the run has no more to come."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self.ended = False

    def __iter__(self) -> Iterator[RunEvent]:
        kind, data = b"", b""
        for line in self._lines:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"event":
                kind = value
            elif name == b"data":
                data = data + b"\n" + value if data else value
            elif not line and kind == b"end":
                self.ended = True
                return
            elif not line:
                if data:
                    yield _entry(data)
                kind, data = b"", b""


def _entry(text: bytes) -> RunEvent:
    try:
        return reader(RunEvent)(text)
    except msgspec.DecodeError as error:
        raise PenstockError(f"An event of the server cannot be read: {error}.") from error
