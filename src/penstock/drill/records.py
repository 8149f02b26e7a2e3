"""What a drill writes down: what clients asked and were told, what steps did, what was broken, what is there at the end.

Times are seconds of this machine's monotonic clock, which no fault moves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

STEPS = ("draw", "left", "right", "join")
"""The steps of the pipeline that is drilled; each is carried out once in a run that completes."""

TERMINAL = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Order:
    """A wish of a client: one run. With a key it is sent until there is an answer; without, every sending may be one."""

    number: int
    key: str | None = None
    nap: float = 0.0
    flaky: bool = False
    """Its step `left` fails at first, and is allowed one more attempt."""

    brood: bool = False
    """Its step `draw` leaves a process behind that wants to outlive it."""

    callback: bool = False
    """Somebody is to be told of its end."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One sending of an order, and what came back. `status` is None if nothing did: then it may have started a run."""

    order: int
    at: float
    status: int | None
    run_id: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the client was promised a run."""
        return self.status is not None and self.status < 300


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """A client asked for an end, and was told so."""

    run_id: str
    at: float
    status: int | None


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a client saw of a run."""

    run_id: str
    at: float
    state: str


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the receiver of callbacks was told: the end of a run, in a message with a name of its own."""

    run_id: str
    state: str
    message: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Deed:
    """What a step told the witness. `begin` and `end` frame its work; `brood` names a process that it left behind."""

    order: int
    run_id: str
    step: str
    attempt: int
    pid: int
    event: Literal["begin", "end", "fail", "brood"]
    at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Blow:
    """Something was broken, from `at` until `until`.

    Runs that it hits may fail: those named in `runs`, or with `all_runs` every run that was under way. Nothing else may.
    """

    fault: str
    what: str
    at: float
    until: float
    runs: tuple[str, ...] = ()
    all_runs: bool = False


@dataclass(frozen=True, kw_only=True)
class Death:
    """A server process ended. A `status` of None means that the drill killed it."""

    at: float
    status: int | None
    back: float | None = None
    """Seconds until the next one answered."""


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """What no fault excuses: an answer of 500, an error in a log of the product."""

    at: float
    what: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the API says of a run at the end."""

    run_id: str
    order: int
    state: str
    output: object = None
    error: str | None = None
    steps: dict[str, str] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something that should be gone when all is over: a process, a file descriptor, a temporary file, a slot."""

    kind: str
    what: str


Record = Order | Answer | Cancel | Sight | Heard | Deed | Blow | Death | Surprise | Told | Leftover

R = TypeVar("R", bound=Record)


class History:
    """Everything that was written down. Any thread may add to it."""

    def __init__(self, records: list[Record] | None = None) -> None:
        self._records = list(records or [])
        self._lock = threading.Lock()

    def add(self, record: Record) -> None:
        """Write one thing down."""
        with self._lock:
            self._records.append(record)

    def of(self, kind: type[R]) -> list[R]:
        """All records of a kind, in the order in which they were written."""
        with self._lock:
            return [one for one in self._records if isinstance(one, kind)]

    def keep(self, path: Path) -> None:
        """Write it to a file, one JSON object a line, for whoever wants to look at what happened."""
        with path.open("wb") as file:
            for line in self._lines():
                file.write(line + b"\n")

    def _lines(self) -> Iterator[bytes]:
        with self._lock:
            records = list(self._records)
        for record in records:
            yield msgspec.json.encode({"record": type(record).__name__.lower(), **msgspec.to_builtins(record)})
