"""The pipeline that a drill triggers. Each step tells the witness, outside of Penstock, what it does.

A drill copies this file into a project of its own: it is written like a pipeline of a user, and used like one.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from penstock import StepRetryConfig, get_step_context, pipeline, step


class Flaw(Exception):
    """The failure that an order asked for."""


def tell(witness: str, order: int, event: str, pid: int | None = None) -> None:
    """Return when the witness has this on disk."""
    here = get_step_context()
    deed = {
        "order": order,
        "run_id": here.run_id,
        "step": here.step,
        "attempt": here.attempt,
        "pid": pid or os.getpid(),
        "event": event,
    }
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(witness)
        line.sendall(json.dumps(deed).encode() + b"\n")
        if line.recv(1) != b"+":
            raise ConnectionError("the witness has gone")


@contextmanager
def witnessed(witness: str, order: int) -> Iterator[None]:
    """In here is the work of the step, which is told when it begins and how it ends."""
    tell(witness, order, "begin")
    try:
        yield
    except BaseException:
        tell(witness, order, "fail")
        raise
    print(f"order {order} {get_step_context().step}")
    tell(witness, order, "end")


@step
def draw(witness: str, order: int, nap: float, brood: bool) -> int:
    """Take a while, and leave a process behind if that is asked for."""
    with witnessed(witness, order):
        if brood:
            left = subprocess.Popen(
                [sys.executable, "-S", "-c", "import time; time.sleep(600)"],
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            tell(witness, order, "brood", left.pid)
            left.returncode = 0  # nobody waits for it: what becomes of it is not the step's affair
        time.sleep(nap)
        return order


@step(retry=StepRetryConfig(max_retries=1))
def left(witness: str, order: int, flaky: bool, value: int) -> int:
    """Fail at first, if that is asked for."""
    with witnessed(witness, order):
        if flaky and get_step_context().attempt == 1:
            raise Flaw(f"order {order} wanted this")
        return value * 2


@step
def right(witness: str, order: int, nap: float, value: int) -> int:
    """Take a while beside `left`."""
    with witnessed(witness, order):
        time.sleep(nap / 2)
        return value * 3


@step
def join(witness: str, order: int, one: int, other: int) -> int:
    """Need both."""
    with witnessed(witness, order):
        return one + other


@pipeline
def drilled(witness: str, order: int, nap: float = 0.0, flaky: bool = False, brood: bool = False) -> int:
    """Five times the number of the order, by a detour."""
    drawn = draw(witness, order, nap, brood)
    total: int = join(witness, order, left(witness, order, flaky, drawn), right(witness, order, nap, drawn))
    return total
