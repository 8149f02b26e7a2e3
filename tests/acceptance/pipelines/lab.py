"""A pipeline whose one step does what it is told: for tests of what may happen to a run."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import warnings
from typing import Literal

from penstock import pipeline, step

Deed = Literal["square", "print", "fail", "exit", "segfault", "hang", "wait", "spawn"]


@step
def act(deed: str, number: int, path: str) -> int:
    if deed == "print":
        print("hello from print")
        print("and from stderr", file=sys.stderr)
        warnings.warn("mind the gap", stacklevel=1)
        subprocess.run(["echo", "said a child"], check=True)
    if deed == "fail":
        return wrong(number)
    if deed == "exit":
        os._exit(3)
    if deed == "segfault":
        ctypes.string_at(0)
    if deed in ("hang", "spawn"):
        # SIG_IGN for the whole process, from whatever thread: `signal.signal` insists on the main one.
        ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(1))
    if deed == "spawn":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    if path:
        with open(path, "a") as file:
            file.write(f"{number} {os.getpid()}\n")
    while deed in ("hang", "spawn"):
        time.sleep(0.05)  # poll: hangs until it is killed
    while deed == "wait" and not os.path.exists(f"{path}.go"):
        time.sleep(0.01)  # poll: goes on when the test says so
    return number * number


def wrong(number: int) -> int:
    raise ValueError(f"{number} is a bad number")


@step
def report(value: int) -> dict[str, int]:
    print(f"the value is {value}")
    return {"value": value}


@pipeline
def lab(deed: Deed = "square", number: int = 2, path: str = "") -> dict[str, int]:
    """Do one deed and report."""
    return report(act(deed, number, path))
