"""The wall clock of the processes under drill, and points at which one of them ends: a library that is loaded into them.

It is built when it is needed. Where there is no compiler these faults are left out, and the drill says so.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import time
from pathlib import Path

POINTS = {"before a sync": 1, "after a sync": 2, "before a rename": 3, "after a rename": 4}
"""Where a process may be ended: around the moment at which something is on disk for good."""

_SIZE = 4 * 8


def compiler() -> str | None:
    """The C compiler of this machine, if these faults can be had here."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


class Shim:
    """One library with its orders, in `directory`. All processes that were started with `environment` follow them."""

    def __init__(self, directory: Path, compile_with: str) -> None:
        library, orders = directory / "shim.so", directory / "orders"
        source = Path(__file__).with_name("shim.c")
        command = [compile_with, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        orders.write_bytes(bytes(_SIZE))
        with orders.open("r+b") as file:
            self._orders = mmap.mmap(file.fileno(), _SIZE)
        self.environment = {"LD_PRELOAD": str(library), "PENSTOCK_DRILL_ORDERS": str(orders)}

    def shift(self, seconds: int) -> None:
        """Put the wall clock so far from the right time."""
        self._put(0, seconds)

    def arm(self, point: str, countdown: int) -> None:
        """End whichever process passes this point for the `countdown`-th time from now."""
        self._put(3, 0)
        self._put(2, countdown)
        self._put(1, POINTS[point])

    def disarm(self) -> None:
        """No point ends anybody any more."""
        self._put(1, 0)

    def victim(self, patience: float) -> int | None:
        """The pid of the process that was ended, as soon as there is one."""
        until = time.monotonic() + patience
        while not (found := int(struct.unpack_from("q", self._orders, 3 * 8)[0])) and time.monotonic() < until:
            time.sleep(0.01)
        return found or None

    def _put(self, place: int, value: int) -> None:
        struct.pack_into("q", self._orders, place * 8, value)
