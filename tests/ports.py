"""Ports for tests that must name one before anybody listens there.

A port that the kernel chose, and that is closed again, is given to whoever asks next: at times to another test worker,
whose server then answers in place of ours. These lie below those that the kernel gives out (32768 and up on Linux), and
each worker has its own.
"""

from __future__ import annotations

import itertools
import os
import socket

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
FIRST_PORT = 8400 + 400 * WORKER
"""Where services of this worker begin to look for a port: one that is taken down finds it free when it is back."""
_FIRST, _MANY = 20_000 + 1_000 * WORKER, 1_000
# Two runs at once on a machine do not begin at the same one.
_turn = itertools.count(os.getpid())


def new_port() -> int:
    """A port on 127.0.0.1 where nobody listens and that nobody else is given."""
    for number in itertools.islice(_turn, _MANY):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", _FIRST + number % _MANY))
            except OSError:
                continue
            port: int = trial.getsockname()[1]
            return port
    raise AssertionError(f"all ports from {_FIRST} to {_FIRST + _MANY - 1} are taken")
