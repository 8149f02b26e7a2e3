"""What is changed in a process while output is captured in it: streams, logging, other processes, threads.

The first capture changes it and the last one changes it back. All of it is inert for code that stands at no place.
"""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TextIO

from penstock.runtime.lines import Stream
from penstock.runtime.streams import STREAMS, Pipe, Place, Router, current, here, set_owner

Undo = Callable[[], None]


class Capturing(Protocol):
    """Somebody for whose sake the process is changed."""

    def abandon(self) -> None:
        """Stop listening: this is a forked child, and the thread that listens stayed with the parent."""


_POPEN_POSITIONS = ("args", "bufsize", "executable", "stdin", "stdout", "stderr")

_lock = threading.Lock()
_captures: list[Capturing] = []
_undo: list[Undo] = []
_routers: dict[Stream, Router] = {}


def install(capture: Capturing) -> None:
    """Change the process for one more capture."""
    with _lock:
        if not _captures:
            _undo.extend(_changes())
        _captures.append(capture)


def uninstall(capture: Capturing) -> None:
    """One capture less; after the last one everything is as it was."""
    with _lock:
        if capture in _captures:
            _captures.remove(capture)
        if not _captures:
            _restore()


def behind(stream: Stream) -> TextIO | None:
    """The stream that is there without a capture."""
    return _routers[stream].behind


def log_from_info() -> Undo:
    """Have log records of level INFO and above printed, unless user code says otherwise now or later.

    The handler of last resort is exchanged: a handler on the root logger would make `logging.basicConfig` do nothing.
    """
    former, level = logging.lastResort, logging.root.level
    handler = logging.StreamHandler(_routers["stderr"])
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.lastResort = handler
    if level == logging.WARNING and not logging.root.handlers:
        logging.root.setLevel(logging.INFO)

    def undo() -> None:
        logging.lastResort = former
        if logging.root.level == logging.INFO:
            logging.root.setLevel(level)

    return undo


def _changes() -> Iterator[Undo]:
    for stream in STREAMS:
        _routers[stream] = Router(stream, getattr(sys, stream))
        yield _exchanged(sys, stream, _routers[stream])
    yield _handlers_redirected()
    yield _wrapped(subprocess.Popen, "__init__", _popen_init)
    yield _wrapped(subprocess.Popen, "wait", _popen_wait)
    yield _wrapped(os, "system", _system)
    yield _wrapped(threading.Thread, "start", _thread_start)
    yield _wrapped(ThreadPoolExecutor, "submit", _executor_submit)


def _restore() -> None:
    while _undo:
        _undo.pop()()


def _exchanged(where: Any, name: str, new: Any) -> Undo:
    former = getattr(where, name)
    setattr(where, name, new)

    def undo() -> None:
        if getattr(where, name) is new:  # else somebody changed it again, on top of us
            setattr(where, name, former)

    return undo


def _wrapped(where: Any, name: str, wrapper: Callable[[Any], Any]) -> Undo:
    former = getattr(where, name)
    return _exchanged(where, name, functools.wraps(former)(wrapper(former)))


def _handlers_redirected() -> Undo:
    """Handlers hold the stream that was there when they were made."""
    for handler in _stream_handlers():
        for router in _routers.values():
            if handler.stream is router.behind:
                handler.stream = router
                break

    def undo() -> None:
        for handler in _stream_handlers():
            if isinstance(handler.stream, Router) and handler.stream.behind is not None:
                handler.stream = handler.stream.behind

    return undo


def _stream_handlers() -> Iterator[logging.StreamHandler[Any]]:
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        for handler in getattr(logger, "handlers", ()):  # a placeholder has none
            if isinstance(handler, logging.StreamHandler) and "stream" in vars(handler):  # not one that looks it up
                yield handler


def _popen_init(original: Any) -> Any:
    """A process whose output nobody has asked for prints into a pipe of its step."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it becomes one
        place = current()
        if place is None or len(args) > len(_POPEN_POSITIONS):
            original(self, *args, **kwargs)
            return
        given = dict(zip(_POPEN_POSITIONS, args, strict=False)) | kwargs
        pipes: list[Pipe] = []
        writing: list[int] = []
        try:
            for stream in STREAMS:
                to = given.get(stream)
                if to is None or isinstance(to, Router):
                    pipe, descriptor = place.pipe(to.stream if to is not None else stream)
                    pipes.append(pipe)
                    writing.append(descriptor)
                    given[stream] = descriptor
            original(self, **given)
        except BaseException:
            for pipe in pipes:
                pipe.close()
            raise
        finally:
            for descriptor in writing:
                os.close(descriptor)
        self._penstock_pipes = pipes

    return __init__


def _popen_wait(original: Any) -> Any:
    """What a process has printed comes before what is printed by whoever waited for it."""

    def wait(self: Any, timeout: float | None = None) -> Any:
        status = original(self, timeout=timeout)
        for pipe in getattr(self, "_penstock_pipes", ()):
            pipe.drain()
        return status

    return wait


def _system(original: Any) -> Any:
    """The same by way of `Popen`, whose output finds its step."""

    def system(command: Any) -> Any:
        if current() is None:
            return original(command)
        status = subprocess.Popen(command, shell=True).wait()  # noqa: S602  # the user's own command
        return -status if status < 0 else status << 8  # as `os.waitpid` has it

    return system


def _thread_start(original: Any) -> Any:
    """A thread stands where it was started."""

    def start(self: Any) -> None:
        place, former = here.get(), self.__dict__.get("run")
        if place is not None:
            self.run = functools.partial(_run_at, place, self, self.run)
        try:
            original(self)
        except BaseException:
            self.__dict__.pop("run", None)
            if former is not None:
                self.run = former
            raise

    return start


def _run_at(place: Place, thread: threading.Thread, run: Callable[[], None]) -> None:
    thread.__dict__.pop("run", None)  # it leads back to the thread: a circle would outlive it
    here.set(place)
    run()


def _executor_submit(original: Any) -> Any:
    """A task stands where it was submitted: the thread that takes it may have been started elsewhere."""

    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return original(self, _call_at, here.get(), fn, *args, **kwargs)

    return submit


def _call_at(place: Place | None, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    token = here.set(place)
    try:
        return fn(*args, **kwargs)
    finally:
        here.reset(token)


def _forked() -> None:
    """In a forked child: nobody listens. It prints to its descriptors; in a process of the run's own they are captured."""
    global _lock
    _lock = threading.Lock()
    set_owner(None)
    for capture in _captures:
        capture.abandon()
    _captures.clear()
    with suppress(Exception):  # a child must begin, whatever the parent has made of its streams
        _restore()


os.register_at_fork(after_in_child=_forked)
