"""Output of user code, captured line by line and told apart by step, whichever way it was made.

Three rooms lie behind this one: `lines` makes lines of what was written, `streams` holds the ways by which it comes, and
`patches` puts these into the process.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self, TextIO

from penstock.model.run import LogLine
from penstock.runtime import patches, terminal
from penstock.runtime.lines import STEP_LIMIT, Assembler, End, Origin, Piece, Stream, missed
from penstock.runtime.mask import Mask
from penstock.runtime.streams import STREAMS, Descriptor, Pipe, here, new_pipe, set_owner

_TICK = 0.1
"""Seconds between two deliveries."""

_BATCH = 1024 * 1024
"""Characters of one delivery, about."""

_steps: set[_Place] = set()
"""The steps that are running in this process, of all captures: they share its terminal."""


class Capture:
    """Output of one run, while it is entered; any number of them may be, in one process and at once.

    `sink` gets whole lines, in batches, in the order in which they were written, from a thread of the capture; it must
    not print. What is written inside `step` belongs to that step, as does what is written by threads and processes that
    were started there; what is written by the code that has entered the capture belongs to the run (step None).

    With `own_process` the run has this process for itself. Then everything is captured, also what C code or a forked
    child writes to descriptors 1 and 2: it belongs to the only step that is running, or to the run if there are several. Log
    records are printed from INFO on, unless user code arranges for something else.

    With `tee` the output also appears where it would appear without a capture: as it comes, or of steps that run side by side
    in the lines in which it is kept.

    What the `mask` hides never is part of a line, however the line is cut and in whatever pieces it was written.
    """

    def __init__(
        self, sink: Callable[[list[LogLine]], None], *, own_process: bool, tee: bool, mask: Mask | None = None
    ) -> None:
        self.listening = True
        self.shown = tee
        self._own_process = own_process
        self._run = _Place(self, None)
        self._steps: set[_Place] = set()
        self._descriptors: list[Descriptor] = []
        self._terminals: dict[Stream, TextIO | None] = {}
        self._exits = ExitStack()
        self.pump = _Pump(sink, linger=not own_process, mask=mask or Mask())

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self.pump.start()
            exits.callback(self._end)
            patches.install(self)
            exits.callback(patches.uninstall, self)
            if self._own_process:
                self._take_over(exits)
            else:
                self._terminals = {stream: patches.behind(stream) for stream in STREAMS}
            exits.callback(here.reset, here.set(self._run))
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.listening:  # not in a forked child that unwinds its parent's stack
            self._exits.close()

    @contextmanager
    def step(self, step_id: str) -> Iterator[None]:
        """What is written inside belongs to this step."""
        place = _Place(self, step_id)
        self.catch_up()  # what was written before belongs to whoever was running before
        self._steps.add(place)
        _steps.add(place)
        token = here.set(place)
        try:
            yield
        finally:
            here.reset(token)
            self.catch_up()
            self._steps.discard(place)
            _steps.discard(place)
            place.finish()

    def note(self, text: str) -> None:
        """Put words of Penstock into the log of the step (or run) that calls; nobody else is shown them."""
        place = here.get()
        if isinstance(place, _Place) and self.listening:
            ours = -1  # no thread has this number: a line that the step has begun is not continued
            self.pump.queue.put(Piece(time.time(), place, "stderr", ours, text if text.endswith("\n") else text + "\n"))

    def unclaimed(self) -> _Place:
        """Where output goes of which nobody knows who wrote it."""
        running = tuple(self._steps)
        return running[0] if len(running) == 1 else self._run

    def catch_up(self) -> None:
        """Take in what has been written to the descriptors of the process until now."""
        if self._descriptors and self.listening:
            self._flush()
            for descriptor in self._descriptors:
                descriptor.pipe.drain()

    def abandon(self) -> None:
        """Stop listening: this is a forked child, and the thread that listens stayed with the parent."""
        self.listening = False
        _steps.clear()

    def terminal(self, stream: Stream) -> TextIO | None:
        """Where this stream leads without the capture: for words that are no output of the run."""
        return self._terminals[stream]

    def _take_over(self, exits: ExitStack) -> None:
        """Capture everything that is written in this process."""
        former = set_owner(self)
        if former is not None:
            set_owner(former)
            raise RuntimeError("Another capture has this process for itself.")
        exits.callback(set_owner, None)
        exits.callback(patches.log_from_info())
        self._flush()
        for number, stream in enumerate(STREAMS, start=1):
            descriptor = Descriptor(number, stream, self.unclaimed)
            exits.callback(descriptor.restore)
            self._descriptors.append(descriptor)
            self._terminals[stream] = descriptor.opened()
            self.pump.hear(descriptor.pipe)
        exits.callback(self._flush)
        exits.callback(_flush_c)

    def _flush(self) -> None:
        """Push on what somebody has written to a stream of an earlier time, and that is still in its buffer."""
        for stream in STREAMS:
            behind = patches.behind(stream)
            if behind is not None:
                with suppress(OSError, ValueError):  # user code has closed it
                    behind.flush()

    def _end(self) -> None:
        self.listening = False
        try:
            self.pump.close()
        finally:
            for descriptor in self._descriptors:
                descriptor.close()


class _Place(Origin):
    """One step of a capture, or its run outside of any step: what `streams.here` holds."""

    def __init__(self, capture: Capture, step: str | None) -> None:
        super().__init__(step)
        self._capture = capture
        self._by_line = False
        """Other steps were printing as well: its lines are shown when they are whole, to the end."""

    @property
    def listening(self) -> bool:
        return self._capture.listening

    @property
    def shown(self) -> bool:
        return self._capture.shown and self._alone()

    def write(self, stream: Stream, text: str, source: int | None = None) -> None:
        if not text:
            return
        # No lock is taken here: this may be a signal handler, or a `__del__` in the middle of another write.
        source = source or threading.get_ident()
        shown = self.shown
        if self.pending > STEP_LIMIT:
            self.missed = True
        elif not (self.full or self._capture.pump.done):
            self.pending += len(text)
            self._capture.pump.queue.put(
                Piece(time.time(), self, stream, source, text, shown or not self._capture.shown)
            )
        if shown:
            terminal.show(self._capture.terminal(stream), text)

    def show(self, line: LogLine) -> None:
        terminal.show_line(self._capture.terminal(line.stream), line.text)

    def pipe(self, stream: Stream) -> tuple[Pipe, int]:
        reading, writing = new_pipe()
        pipe = Pipe(reading, stream, lambda: self)
        self._capture.pump.hear(pipe)
        return pipe, writing

    def ended(self, source: int) -> None:
        self._capture.pump.queue.put(End(self, source))

    def finish(self) -> None:
        """Nothing more comes: lines that were begun are whole as they stand."""
        self._capture.pump.queue.put(End(self))

    def _alone(self) -> bool:
        """Whether no other step prints, so that everything may be shown with all that it does to the cursor."""
        self._by_line = self._by_line or len(_steps) > 1
        return not self._by_line


class _Pump(threading.Thread):
    """Takes what was written to a capture, makes lines of it, and delivers them."""

    def __init__(self, sink: Callable[[list[LogLine]], None], *, linger: bool, mask: Mask) -> None:
        super().__init__(name="penstock-output", daemon=True)
        self.queue: SimpleQueue[Piece | End | None] = SimpleQueue()
        """What came, in order; None only wakes the thread. (It is the one queue that a signal handler may put into.)"""

        self.done = False
        self._sink = sink
        self._linger = linger
        self._pipes: list[Pipe] = []
        self._assembler = Assembler(mask)
        self._lines: list[LogLine] = []
        self._heard: dict[Origin, Piece] = {}
        """The last piece of everybody who wrote in this round."""

        self._delivered = 0.0
        self._error: Exception | None = None
        self._closing = threading.Event()
        self._closed = threading.Event()

    def hear(self, pipe: Pipe) -> None:
        """Listen to one more pipe, to its end."""
        self._pipes.append(pipe)
        self.queue.put(None)

    def close(self) -> None:
        """Deliver everything that is there. Processes that are still running may go on printing, to nobody's log.

        Raises what the sink has raised first, if anything; that kept nobody from printing.
        """
        self._closing.set()
        self.queue.put(None)
        self._closed.wait()
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        try:
            while not self._closing.is_set():
                self._wait()
                self._take()
                self._deliver()
            for pipe in list(self._pipes):
                pipe.drain()
            self._take()
            self._lines.extend(self._assembler.end())
            self._deliver()
        finally:
            self.done = True
            for pipe in () if self._linger else self._pipes:
                pipe.close()
            self._closed.set()
        # Without a reader, a process that outlives the run would be ended by SIGPIPE.
        while self._pipes and self._linger:
            self._listen(None)

    def _wait(self) -> None:
        """Until there is something to do, or a line waits for its end no longer."""
        if self._pipes:
            self._listen(_TICK)
        elif self._lines or self._assembler.waits:
            self._closing.wait(_TICK)
        else:
            self._handle(self.queue.get())
            self._closing.wait(_TICK)  # what comes together travels together

    def _listen(self, timeout: float | None) -> None:
        poll, known = select.poll(), {}
        for pipe in list(self._pipes):
            if pipe.descriptor is None:
                self._pipes.remove(pipe)
            else:
                known[pipe.descriptor] = pipe
                poll.register(pipe.descriptor, select.POLLIN)
        if known:
            for descriptor, _ in poll.poll(None if timeout is None else timeout * 1000):
                known[descriptor].drain()

    def _take(self) -> None:
        """Make lines of all that has come."""
        with suppress(Empty):
            while True:
                self._handle(self.queue.get_nowait())
        for place, piece in self._heard.items():
            place.pending = 0
            if place.missed:
                place.missed = False
                self._lines.append(missed(piece))
        self._heard.clear()

    def _handle(self, item: Piece | End | None) -> None:
        if isinstance(item, Piece):
            self._lines.extend(self._assembler.feed(item))
            self._heard[item.origin] = item
        elif item is not None:
            self._lines.extend(self._assembler.end(item))

    def _deliver(self) -> None:
        now = time.time()
        self._lines.extend(self._assembler.overdue(now))
        if not self._lines or (0 <= now - self._delivered < _TICK and not self._closing.is_set()):
            return
        self._delivered = now
        lines, self._lines = self._lines, []
        try:
            for batch in _batches(lines):
                self._sink(batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, pipes must be read or processes hang
            self._error = self._error or error


def _batches(lines: list[LogLine]) -> Iterator[list[LogLine]]:
    batch: list[LogLine] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line.text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _flush_c() -> None:
    """Push on what C code has printed: into a pipe it prints by the block, and at the end of the process only."""
    import ctypes  # takes two milliseconds, and is needed at the very end of a run only

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
