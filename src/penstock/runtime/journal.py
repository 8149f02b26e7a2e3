"""The journal of one run: numbered events, sent home in batches by a thread, in order and until they are acknowledged."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

from penstock.errors import PenstockError, ServerUnreachable, StorageFull, TooManyRequests, Unavailable
from penstock.model.run import Batch, Event, EventType, Failure, LogLine, Receipt
from penstock.runtime.hiding import without_secrets
from penstock.runtime.mask import Mask
from penstock.runtime.spool import Spool

LINGER = 0.05
"""Seconds that an event may wait for company: what happens close together travels in one request."""

PATIENCE = 600.0
"""Seconds for which the last events are offered to a server that is away, before the process gives up."""

_BATCH = 500
_BATCH_TEXT = 1_000_000
_BACKLOG = 20_000
_TRANSIENT = (ServerUnreachable, Unavailable, StorageFull, TooManyRequests)

Send = Callable[[Batch], Receipt]


class Reporter(Protocol):
    """Takes note of what happens in a run."""

    def write(self, type: EventType, **fields: Any) -> None:
        """Note an event."""

    def hide(self, values: Iterable[str]) -> None:
        """From now on these texts are not told."""

    def flush(self) -> None:
        """Return when others can know of everything that was noted until now, if they ever will."""


class Journal:
    """Writes of any thread become events with consecutive numbers under one fence.

    A server that is away or out of room only delays them. A refusal (the fence is stale, the run has ended) is final:
    everything written later is dropped, because somebody else owns the run now.
    """

    def __init__(self, send: Send, fence: int, *, spool: Spool | None = None, heartbeat: float | None = None) -> None:
        """What is not acknowledged yet is kept in the `spool`, if there is one, in case this process dies.

        With a `heartbeat` (seconds) an empty batch is sent when nothing happened for so long, to keep the lease.
        """
        self._spool = spool
        self._send = send
        self._fence = fence
        self._heartbeat = heartbeat
        self._refused: Callable[[PenstockError], None] = _ignore
        self._stop: Callable[[], None] = _ignore
        self._heard: Callable[[Event], None] = _ignore
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._sequence = 0
        self._arrived = 0
        self.mask = Mask()
        """Hides the secrets of the run. Output is hidden before it is cut into lines, and all else on its way out."""

        self._hurried = 0
        """How many wait for everything to have arrived."""

        self._closed = False
        self._dead = False
        self._told_to_stop = False
        self._thread = threading.Thread(target=self._work, name="penstock-journal", daemon=True)

    def begin(
        self,
        facts: dict[str, Any],
        *,
        refused: Callable[[PenstockError], None],
        stop: Callable[[], None] | None = None,
        heard: Callable[[Event], None] | None = None,
    ) -> None:
        """Report that the run starts, and return only when the server has accepted it.

        Before this user code must not run: a claim that is lost earlier is given to somebody else.
        Raises `Conflict` if the run is not ours to start any more. Later `refused` is called once if the server refuses
        a report, and `stop` once if it says that the run is to be cancelled. `heard` is told each event as it is noted.
        """
        self._refused, self._stop, self._heard = refused, stop or _ignore, heard or _ignore
        self._append("run_started", metadata=facts)
        self._deliver(final=True)
        self._thread.start()

    def write(self, type: EventType, **fields: Any) -> None:
        """Note an event; it travels soon."""
        self._append(type, **fields)

    def log(self, lines: list[LogLine]) -> None:
        """Note lines of output. Waits while the backlog is full (the server is away and logs pour)."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) < _BACKLOG or self._dead or self._closed)
        for portion in _portions(lines):
            self._append("log", lines=portion)

    def hide(self, values: Iterable[str]) -> None:
        """From now on put `***` in the place of these texts, wherever user code may have put them.

        Names of steps and outputs, numbers, times and digests stay what they are, whatever a secret looks like. Texts of fewer than four characters are left: they are in everything. Each line of a longer one is hidden by itself.
        """
        with self._changed:
            self.mask.add(values)

    def flush(self) -> None:
        """Return when everything that was noted until now has arrived, or will not arrive for long.

        For code that is about to tell others of it: another run may look for an artifact as soon as it knows its id.
        """
        with self._changed:
            until = self._sequence
            self._hurried += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._arrived >= until or self._dead or self._closed, timeout=PATIENCE)
            self._hurried -= 1

    def end(self, outputs: dict[str, Any] | None, error: Failure | None = None) -> None:
        """Write the run's end, completed or failed, deliver all that is left and stop the thread.

        Raises the server's refusal, or `ServerUnreachable` after `PATIENCE`.
        """
        if error is None:
            self._append("run_completed", values=outputs)
        else:
            self._append("run_failed", error=error)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._deliver(final=True)
        if self._spool is not None:
            self._spool.close()

    def _append(self, type: EventType, **fields: Any) -> None:
        with self._changed:
            if self._dead:
                return
            self._sequence += 1
            event = without_secrets(self.mask, Event(seq=self._sequence, at=datetime.now(UTC), type=type, **fields))
            self._events.append(event)
            if self._spool is not None:
                self._spool.write(event)
            self._changed.notify_all()
        self._heard(event)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._closed or self._dead, timeout=self._heartbeat)
                if self._events:
                    # Company is worth a short wait; nobody who waits for the delivery is kept waiting for it.
                    self._changed.wait_for(lambda: self._closed or self._hurried, timeout=LINGER)
                if self._closed or self._dead:
                    return
            try:
                self._deliver(final=False)
            except ServerUnreachable:
                continue  # the server is away for long; the run goes on, and the events are kept
            except PenstockError as error:
                self._give_up(error)
                return

    def _deliver(self, *, final: bool) -> None:
        """Send all that is waiting, or an empty batch as a heartbeat. With `final` only the server's absence ends it."""
        deadline, pause = time.monotonic() + PATIENCE, 0.02
        with self._sending:
            while not self._dead:
                batch = self._next()
                if final and not batch:
                    return
                try:
                    receipt = self._send(Batch(fence=self._fence, events=batch))
                except _TRANSIENT as error:
                    if time.monotonic() + pause > deadline:
                        raise ServerUnreachable(f"The server could not be reached: {error.detail}") from error
                    if self._rest(pause, final=final):
                        return  # the run ends: its own thread delivers the rest
                    pause = min(pause * 2, 2.0)
                    continue
                pause = 0.02
                if not self._acknowledge(len(batch), receipt):
                    return

    def _rest(self, pause: float, *, final: bool) -> bool:
        """Wait before another try. The end of the run cuts the wait of the sending thread short: then True."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed and not final, timeout=pause)

    def _next(self) -> tuple[Event, ...]:
        """The oldest events that fit into one request."""
        batch: list[Event] = []
        room = _BATCH_TEXT
        with self._changed:
            for event in self._events:
                room -= _weight(event)
                if batch and (room < 0 or len(batch) == _BATCH):
                    break
                batch.append(event)
        return tuple(batch)

    def _acknowledge(self, count: int, receipt: Receipt) -> bool:
        """Drop what has arrived; whether there is more to send."""
        with self._changed:
            for _ in range(count):
                self._arrived = self._events.popleft().seq
            if self._spool is not None and count and not self._events:
                self._spool.forget()
            self._changed.notify_all()
            more = count > 0 and bool(self._events)
            tell = receipt.stop and not self._told_to_stop
            self._told_to_stop = self._told_to_stop or receipt.stop
        if tell:
            self._stop()
        return more

    def _give_up(self, error: PenstockError) -> None:
        with self._changed:
            self._dead = True
            self._events.clear()
            self._changed.notify_all()
        self._refused(error)


def _ignore(*_: Any) -> None:
    """Nobody asked to be told."""


def _weight(event: Event) -> int:
    """About how many bytes the event's free text takes on the wire."""
    return 200 + sum(len(line.text) for line in event.lines)


def _portions(lines: list[LogLine]) -> Iterator[tuple[LogLine, ...]]:
    """`lines` in portions that each fit into one request."""
    portion: list[LogLine] = []
    room = _BATCH_TEXT
    for line in lines:
        room -= len(line.text) + 100
        if portion and room < 0:
            yield tuple(portion)
            portion, room = [], _BATCH_TEXT - len(line.text) - 100
        portion.append(line)
    if portion:
        yield tuple(portion)
