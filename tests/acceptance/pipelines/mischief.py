"""A pipeline whose one step does what user code may do by mistake: each must end in one state, with the reason."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from penstock import pipeline, step


def exit_zero() -> None:
    os._exit(0)


def sys_exit() -> None:
    sys.exit(3)


def recursion() -> None:
    recursion()


def close_everything() -> None:
    os.closerange(0, 4096)


def lose_the_directory() -> None:
    os.chdir(os.getcwd())
    shutil.rmtree(os.getcwd(), ignore_errors=True)


def memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    bytearray(2**33)


def full_files() -> None:
    # For the process, and for good: from here on no file of it can grow.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(600,)).start()


def leave_a_daemon() -> None:
    subprocess.Popen(["sleep", "600"], start_new_session=True)


def take_all_signals() -> None:
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        ctypes.CDLL(None).signal(one, ctypes.c_void_p(1))


def hold_the_interpreter() -> None:
    # A function of C that keeps the interpreter's lock: no other thread of the process does anything meanwhile.
    ctypes.PyDLL(None).sleep(8)  # slow: longer than a lease


def interrupt() -> None:
    raise KeyboardInterrupt


def strange_error() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    raise Mute


def many_descriptors() -> None:
    os.environ["HELD"] = str(len([os.open(os.devnull, os.O_RDONLY) for _ in range(200)]))


def bytes_on_the_streams() -> None:
    os.write(1, b"\xff\xfe\x00 no text\n" * 100)
    os.write(2, b"x" * 5_000_000)


@step
def do(deed: str) -> int:
    globals()[deed]()
    return 1


@step
def odd_result() -> Any:
    return threading.Lock()


@pipeline
def mischief(deed: str = "leave_a_thread") -> int:
    """Do one deed."""
    return do(deed)


@pipeline
def oddity() -> Any:
    """Return what cannot be kept."""
    return odd_result()
