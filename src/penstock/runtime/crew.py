"""Who carries out ready steps: the thread that called the pipeline, whenever it waits, and helpers for the rest.

A pipeline whose steps follow one another runs wholly in the caller's thread, as if its functions called each other:
signals, event loops and graphical libraries work, which insist on the main thread. Steps that are ready at the same
time go to helpers.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

HEAD_START = 0.1
"""Seconds that a lone ready step is left to the caller, who most often comes to wait for it at once."""


@dataclass(frozen=True)
class Job:
    """A step that is ready."""

    id: str
    carry_out: Callable[[], None]
    since: float


class Crew:
    """`changed` is the lock of whoever gives out the jobs, and is told when anything changes.

    `add` and `close` are called while it is held; jobs run without it.
    """

    def __init__(self, changed: threading.Condition, helpers: int, name: str, *, sparing: bool = False) -> None:
        """`sparing`: a lone ready job is left to the caller for good; nobody is made for it who might come first."""
        self._changed = changed
        self._limit = helpers
        self._name = name
        self._timed: OrderedDict[str, Job] = OrderedDict()
        self._plain: OrderedDict[str, Job] = OrderedDict()
        self._most_left = 1 if sparing else 0
        self._helpers = 0
        self._idle = 0
        self._closed = False

    def add(self, id: str, carry_out: Callable[[], None], *, timed: bool = False) -> None:
        """Take in a job. Somebody will carry it out, once.

        A `timed` one is left to the caller if possible: in the main thread it can be stopped in the middle of a system call.
        """
        (self._timed if timed else self._plain)[id] = Job(id, carry_out, time.monotonic())
        if self._ready > self._most_left and self._idle < self._ready and self._helpers < self._limit:
            self._helpers += 1
            threading.Thread(target=self._help, name=f"{self._name}-{self._helpers}", daemon=True).start()
        self._changed.notify_all()

    def work_until(self, done: Callable[[], bool], only: Collection[str] | None = None) -> None:
        """Carry out jobs in this thread until `done`; with `only` no others than these, so as not to be late back."""
        while True:
            with self._changed:
                job = None
                while not done() and (job := self._next(only)) is None:
                    self._changed.wait()
                if job is None:
                    return
            job.carry_out()

    def close(self) -> None:
        """Let the helpers go when nothing is left."""
        self._closed = True
        self._changed.notify_all()

    @property
    def _ready(self) -> int:
        return len(self._timed) + len(self._plain)

    def _next(self, only: Collection[str] | None) -> Job | None:
        """The oldest job that the caller may do, timed ones first."""
        for jobs in (self._timed, self._plain):
            if only is None and jobs:
                return jobs.popitem(last=False)[1]
            found = next((id for id in only or () if id in jobs), None)
            if found is not None:
                return jobs.pop(found)
        return None

    def _help(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                try:
                    while not self._ready or self._left_to_caller() > 0:
                        if self._closed and not self._ready:
                            self._helpers -= 1
                            return
                        self._changed.wait(self._left_to_caller() if self._ready else None)
                finally:
                    self._idle -= 1
                _, job = (self._plain or self._timed).popitem()
            job.carry_out()

    def _left_to_caller(self) -> float:
        """Seconds for which the only ready job still belongs to the caller."""
        if self._ready > 1:
            return 0.0
        (job,) = (self._timed or self._plain).values()
        return job.since + HEAD_START - time.monotonic()
