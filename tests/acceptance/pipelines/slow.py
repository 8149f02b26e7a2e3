"""Pipelines that take too long in different ways: for tests of time limits in real processes."""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Any

from penstock import pipeline, step


@step(timeout=0.3)
def sleeps() -> None:
    time.sleep(600)  # slow: it is stopped


@step(timeout=0.3)
def locked() -> None:
    threading.Lock().acquire()
    stuck = threading.Lock()
    stuck.acquire()
    stuck.acquire()


@step(timeout=0.3)
def deaf() -> None:
    """Holds the interpreter in C code: no line of Python runs in this process any more."""
    ctypes.PyDLL(None).sleep(600)  # slow: it is stopped


@step
def calm() -> int:
    return 1


@pipeline
def slow(how: str, helpers: int = 0) -> Any:
    late = {"sleeps": sleeps, "locked": locked, "deaf": deaf}[how]
    for _ in range(helpers):
        late()
    late()
    return calm()


@step
def waits() -> None:
    time.sleep(600)  # slow: it is stopped


@pipeline(timeout=0.5)
def limited() -> None:
    waits()
