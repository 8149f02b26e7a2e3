"""Ways for output to reach the step that made it: a stand-in for stdout and stderr, and pipes for other processes."""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Protocol, TextIO

from penstock.runtime.lines import Stream

STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")

_READ = 64 * 1024
_READS = 32
"""Reads in a row: more than a pipe holds. Who writes on and on is heard again in the next round."""


class Place(Protocol):
    """Where output goes: a step of a capture, or its run outside of any step."""

    @property
    def listening(self) -> bool:
        """Whether its capture is still there."""

    @property
    def shown(self) -> bool:
        """Whether its output also appears, as it comes, where it would appear without a capture."""

    def write(self, stream: Stream, text: str, source: int | None = None) -> None:
        """Take in what was written, by this thread if no other source is named."""

    def ended(self, source: int) -> None:
        """Nothing more comes from this source."""

    def pipe(self, stream: Stream) -> tuple[Pipe, int]:
        """A pipe that leads to this place, and the descriptor to write to, which the caller closes."""


class Owner(Protocol):
    """A capture that has its process for itself: what nobody else claims is its own."""

    def unclaimed(self) -> Place:
        """Where output goes of which nobody knows who wrote it."""


class Printing(Protocol):
    """Who takes in the output of one run."""

    def step(self, step_id: str) -> AbstractContextManager[None]:
        """What is written inside belongs to this step."""

    def note(self, text: str) -> None:
        """Put words of Penstock into the log of the step (or run) that calls."""


here: ContextVar[Place | None] = ContextVar("penstock_output", default=None)
"""Where the code that runs here stands. Nobody who captures nothing ever sees anything but None."""

_owner: Owner | None = None


def set_owner(owner: Owner | None) -> Owner | None:
    """Name the capture that has this process for itself; return who was it before."""
    global _owner
    _owner, former = owner, _owner
    return former


def current() -> Place | None:
    """Where output goes that is written just here; None if it is not captured."""
    place = here.get()
    if place is not None and place.listening:
        return place
    return _owner.unclaimed() if _owner is not None else None


class Router(io.TextIOBase):
    """Stands in for `sys.stdout` or `sys.stderr`: whoever stands at a place writes there, everybody else behind it."""

    def __init__(self, stream: Stream, behind: Any) -> None:
        while isinstance(behind, Router):  # somebody put back a stand-in of an earlier time
            behind = behind.behind
        self.stream = stream
        self.behind: TextIO | None = behind
        self._buffer = _ByteRouter(self)

    def write(self, text: Any) -> int:
        """Take the text to where it belongs."""
        place = current()
        if place is not None:
            if not isinstance(text, str):
                raise TypeError(f"write() argument must be str, not {type(text).__name__}")
            place.write(self.stream, text)
        elif self.behind is not None:
            return self.behind.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind, if anything went there."""
        place = current()
        if self.behind is not None and (place is None or place.shown):
            self.behind.flush()

    def isatty(self) -> bool:
        """Whether a person sees what is written here."""
        place = current()
        return (place is None or place.shown) and self.behind is not None and self.behind.isatty()

    def fileno(self) -> int:
        """The descriptor behind; what is written there directly is captured only in a process of the run's own."""
        if self.behind is None:
            raise io.UnsupportedOperation("fileno")
        return self.behind.fileno()

    def writable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Leave it open: the stand-in is not the caller's to close."""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute there
        """The encoding of the stream behind."""
        return getattr(self.behind, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # a plain attribute there
        """What becomes of characters that the encoding lacks: nobody's program fails because it is captured."""
        return "replace"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The same for bytes."""
        return self._buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__.get("behind"), name)

    def __reduce__(self) -> tuple[Callable[[Stream], Any], tuple[Stream]]:
        return _of_this_process, (self.stream,)


def _of_this_process(stream: Stream) -> Any:
    """What a pickled stand-in becomes: the stream of the process that loads it."""
    return getattr(sys, stream)


class _ByteRouter(io.BufferedIOBase):
    """`sys.stdout.buffer`: bytes to the place as text, or to the stream behind as they are."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}

    def write(self, data: Any) -> int:
        """Take the bytes to where they belong."""
        if current() is not None:
            # A character may come in two writes, and two threads may write at once.
            decoder = self._decoders.setdefault(threading.get_ident(), _decoder())
            self._router.write(decoder.decode(bytes(data)))
        elif self._router.behind is not None:
            self._router.behind.buffer.write(data)
        return len(data)

    def flush(self) -> None:
        """Flush the stream behind, if anything went there."""
        self._router.flush()

    def writable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Leave it open."""


class Pipe:
    """The reading end of a pipe. `place` says where its output goes, each time that something comes."""

    def __init__(self, descriptor: int, stream: Stream, place: Callable[[], Place]) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor: int | None = descriptor
        self._identity = _identity(descriptor)
        self._stream = stream
        self._place = place
        self._decoder = _decoder()
        self._process = os.getpid()
        self._lock = threading.RLock()  # re-entrant: a signal handler may come here while its own thread is here

    def drain(self) -> None:
        """Take what is there, without waiting. At the end of the output the pipe closes itself."""
        if self._process != os.getpid():
            return  # a forked child has the descriptor too, but what comes is for its parent
        with self._lock:
            for _ in range(_READS):
                if self.descriptor is None:
                    return
                if _identity(self.descriptor) != self._identity:
                    self.descriptor = None  # user code has closed it, and may have a file of its own there by now
                    return
                try:
                    data = os.read(self.descriptor, _READ)
                except BlockingIOError:
                    return
                text = self._decoder.decode(data, not data)
                if text:
                    self._place().write(self._stream, text, -id(self))
                if not data:
                    self._place().ended(-id(self))
                    self.close()

    def close(self) -> None:
        """Hear nothing more of it."""
        with self._lock:
            descriptor, self.descriptor = self.descriptor, None
            if descriptor is not None and _identity(descriptor) == self._identity:
                os.close(descriptor)


class Descriptor:
    """Descriptor 1 or 2 of this process, led into a pipe until it is restored."""

    def __init__(self, number: int, stream: Stream, place: Callable[[], Place]) -> None:
        self._number = number
        try:
            self._saved = _out_of_the_way(os.dup(number))
        except OSError:  # closed, as in a daemon
            self._saved = _out_of_the_way(os.open(os.devnull, os.O_WRONLY))
        self._identity = _identity(self._saved)
        reading, writing = new_pipe()
        self.pipe = Pipe(reading, stream, place)
        os.dup2(writing, number)
        os.close(writing)

    def opened(self) -> TextIO:
        """A text stream to where the descriptor led before; it works until `close`."""
        return os.fdopen(self._saved, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)

    def restore(self) -> None:
        """Let the descriptor lead where it led before. What is in the pipe can still be drained."""
        if _identity(self._saved) != self._identity:  # user code has closed all that was open: now it leads to nowhere
            self._saved = _out_of_the_way(os.open(os.devnull, os.O_WRONLY))
            self._identity = _identity(self._saved)
        os.dup2(self._saved, self._number)

    def close(self) -> None:
        """Let go of everything but the descriptor itself."""
        if _identity(self._saved) == self._identity:
            os.close(self._saved)


def new_pipe() -> tuple[int, int]:
    """The two ends of a new pipe, out of the way of the descriptors that every process has."""
    reading, writing = os.pipe()
    return _out_of_the_way(reading), _out_of_the_way(writing)


def _out_of_the_way(descriptor: int) -> int:
    """The same with another number, if it got one of the standard streams: they may have been closed."""
    if descriptor > 2:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return moved


def _identity(descriptor: int) -> tuple[int, int] | None:
    """What a descriptor leads to; None if it is closed. Numbers are given out again, so a number alone says nothing."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")
