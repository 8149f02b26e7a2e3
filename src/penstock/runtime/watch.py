"""Work that can be interrupted: because its time is up, because a step before it failed, because the run is cancelled.

Python offers three ways into code that is running, and each reaches something that the others do not. An exception that is
raised in another thread arrives at its next line of Python. A signal gets the main thread out of a system call. A coroutine
is cancelled by its loop. What none of them reaches (C code that never returns, a system call in another thread) is told
to whoever watches: only the end of the process ends it.
"""

from __future__ import annotations

import faulthandler
import heapq
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from types import FrameType
from typing import Any, TextIO

from penstock.errors import PenstockError, TimedOut

AGAIN = 0.1
"""Seconds between two interruptions of work that goes on: user code may have swallowed the first."""

_POLITE = 10
"""So often a coroutine is cancelled; then it blocks its loop, and has to be interrupted like everything else."""

_SIGNAL = signal.SIGURG
"""Ignored by default, used by hardly anybody, and enough to end a system call."""


class Interrupted(BaseException):
    """Raised inside user code that is to stop. No `Exception`, so that a `try` around a loop does not go on with it."""


class Work:
    """Something that user code does in one thread: an attempt of a step, or the pipeline function."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cause: PenstockError | None = None
        """Why it was interrupted, as what is to be raised in its place. None: it was not."""

        self.cancel_async: Callable[[], None] | None = None
        """Cancels the coroutine that the work waits for, if there is one; may be called from any thread."""

        self.over = False
        self._thread = threading.get_ident()
        self._main = threading.current_thread() is threading.main_thread()
        self._lock = threading.Lock()
        self._open = False
        """Whether `Interrupted` may be raised now."""

        self._times = 0
        """How often it was interrupted."""

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """In here, and nowhere else, `Interrupted` may be raised."""
        former = signal.signal(_SIGNAL, self._signalled) if self._main else None
        self._open = True
        try:
            yield
        finally:
            self._shut()
            self.over = True
            if self._main:
                signal.signal(_SIGNAL, former)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """In here it may not be raised: the thread is busy with something else for a while."""
        self._shut()
        try:
            yield
        finally:
            self._open = True

    def interrupt(self, cause: PenstockError) -> bool:
        """Raise `Interrupted` in it, unless it is paused; whether it was still under way. The first cause counts."""
        with self._lock:
            if self.over:
                return False
            self.cause = self.cause or cause
            if not self._open:
                return True
            self._times += 1
            if self.cancel_async is not None and self._times <= _POLITE:
                self.cancel_async()
            elif self._main:
                signal.pthread_kill(self._thread, _SIGNAL)
            else:
                _raise_in(self._thread, Interrupted)
            return True

    def _signalled(self, _: int, __: FrameType | None) -> None:
        if self.cause is not None and self._open:
            raise Interrupted

    def _shut(self) -> None:
        """From here on nothing is raised, not even what is on its way."""
        while self._open:
            try:
                with self._lock:
                    self._open = False
                    if self.cause is not None and not self._main:
                        _raise_in(self._thread, None)
            except Interrupted:  # it came while we were at it; the cause is noted
                self._open = False


class Watch:
    """Does things when their time has come; above all, interrupts work that has had its time, again and again.

    After `grace` seconds more such work is stuck, which is told once.
    """

    def __init__(self, grace: float, stuck: Callable[[Work], None], *, crash: TextIO | None = None) -> None:
        """With `crash` the process has one run only: if Python itself does not get a turn any more, it is ended from the
        outside, and where it hung is written there.
        """
        self._grace = grace
        self._stuck = stuck
        self._crash = crash
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._late: dict[Work, tuple[PenstockError, float]] = {}
        self._numbers = count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def limited(self, work: Work, seconds: float | None, what: str) -> AbstractContextManager[None]:
        """`work` under way for at most `seconds`; then it is interrupted, and the cause says that `what` did not end in time."""
        return work.under_way() if seconds is None else self._limited(work, seconds, what)

    @contextmanager
    def _limited(self, work: Work, seconds: float, what: str) -> Iterator[None]:
        cause = TimedOut(f"{what} did not end within {seconds} s.")
        with self.after(seconds, lambda: self.interrupt(work, cause)), work.under_way():
            yield

    @contextmanager
    def after(self, seconds: float, action: Callable[[], None]) -> Iterator[None]:
        """Call `action`, in the thread of the watch, if this block takes longer than `seconds`."""
        entry = (time.monotonic() + seconds, next(self._numbers), action)
        with self._changed:
            heapq.heappush(self._due, entry)
            self._arm()  # here: what comes now may never let our thread have its turn
            self._wake()
        try:
            yield
        finally:
            with self._changed:
                if entry in self._due:
                    self._due.remove(entry)
                    heapq.heapify(self._due)
                self._wake()

    def interrupt(self, work: Work, cause: PenstockError) -> None:
        """Interrupt `work` now, and until it stops."""
        with self._changed:
            self._late.setdefault(work, (cause, time.monotonic() + self._grace))
            self._wake()

    def close(self) -> None:
        """Watch no more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._crash is not None:
            faulthandler.cancel_dump_traceback_later()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="penstock-watch", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._late = {work: late for work, late in self._late.items() if not work.over}
                if self._closed:
                    return
                self._arm()
                self._changed.wait(self._pause())
                late = dict(self._late)
                due = [heapq.heappop(self._due)[2] for _ in self._due[:] if self._due[0][0] <= time.monotonic()]
            for action in due:
                action()
            for work, (cause, patience) in late.items():
                if work.interrupt(cause) and time.monotonic() > patience:
                    with self._changed:
                        self._late.pop(work, None)
                    self._stuck(work)

    def _pause(self) -> float | None:
        """Seconds until there is something to do; None: until somebody says so."""
        moments = [self._due[0][0] - time.monotonic()] if self._due else []
        moments += [AGAIN] if self._late else []
        return max(0.0, min(moments)) if moments else None

    def _arm(self) -> None:
        """Have the interpreter end this process if this thread should never get its turn again."""
        if self._crash is None or self._closed:
            return
        moments = [self._due[0][0]] if self._due else []
        moments += [patience - self._grace for _, patience in self._late.values()]
        if not moments:
            faulthandler.cancel_dump_traceback_later()
            return
        left = max(0.0, min(moments) - time.monotonic()) + 2 * self._grace + 1
        faulthandler.dump_traceback_later(left, exit=True, file=self._crash)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Raise in another thread at its next bytecode, or take back what was not raised yet (CPython's
    `PyThreadState_SetAsyncExc`, documented in its C API).
    """
    import ctypes  # only what is interrupted needs it

    error: Any = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)
