"""Runs on this machine: a launcher that hands them to the supervisor of its home, a process that it starts if need be."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from penstock.errors import Unavailable
from penstock.model.launch import NO_RUN, RUN_VARIABLE, Ticket, socket_path
from penstock.version import VERSION

PATIENCE = 30.0
"""Seconds that a supervisor may take to come up: another one may have to leave first."""

ANSWER = 5.0
"""Seconds that it may take to answer: it only has to take note."""

_LOG_LIMIT = 10 * 1024 * 1024
_SECRET = ("PENSTOCK_API_KEY", "PENSTOCK_DATABASE_URL", "PENSTOCK_URL")
"""Variables of a server that user code must not see."""


class LocalLauncher:
    """The orchestrator `local`. Its runs outlive the server: they belong to a supervisor, of which a home has one.

    `server` is the address of the server's Unix socket, `python` the interpreter of a supervisor that has to be started.
    Keeps one connection; a supervisor that is gone is started again, once for each order.
    """

    def __init__(self, home: str, server: str, python: str | None = None) -> None:
        self._home = Path(home)
        self._server = server
        self._python = python or sys.executable
        self._path = socket_path(home, "supervisor.sock")
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def launch(self, ticket: Ticket) -> None:
        """Hand the run to the supervisor. Raises `Unavailable` if there is none and none can be started."""
        self._order({"op": "launch", "ticket": ticket})

    def stop(self, run_id: str) -> None:
        """Have the run stopped; its ticket said how long it may take."""
        self._order({"op": "stop", "run_id": run_id})

    def close(self) -> None:
        """Let the supervisor go as soon as it holds no run."""
        with self._lock:
            with suppress(OSError, Unavailable, msgspec.MsgspecError):  # there is none: nothing to let go of
                self._connection = self._connection or self._connect()
                self._exchange({"op": "leave"})
            self._disconnect()

    def _order(self, order: dict[str, Any]) -> None:
        with self._lock:
            try:
                answer = self._exchange(order)
            except (OSError, msgspec.MsgspecError):
                # Whatever became of the order: a supervisor notes on disk what it begins, so it may be repeated.
                self._disconnect()
                try:
                    answer = self._exchange(order)
                except (OSError, msgspec.MsgspecError) as error:
                    self._disconnect()
                    raise Unavailable(f"The supervisor of {self._home} does not answer: {error}.") from error
        if not answer.get("ok"):
            raise Unavailable(str(answer.get("error")))

    def _exchange(self, order: dict[str, Any]) -> dict[str, Any]:
        if self._connection is None:
            self._connection = self._attach()
        return _ask(self._connection, order)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _attach(self) -> socket.socket:
        """A connection to the supervisor, which is started if there is none, or only another version's without runs.

        One that is there but does not answer raises `TimeoutError`: a second one must not be started beside it.
        """
        with suppress(ConnectionError, FileNotFoundError):
            return self._checked(self._connect())
        with self._starting():
            with suppress(ConnectionError, FileNotFoundError):
                return self._checked(self._connect())  # somebody else was first
            self._start()
            return self._connect()

    def _connect(self) -> socket.socket:
        claim_directory(self._path.parent, str(self._home))
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(ANSWER)
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            raise
        return connection

    def _checked(self, connection: socket.socket) -> socket.socket:
        """The connection, unless the supervisor is another version's and leaves now. Holding runs, it does for a while."""
        try:
            if (
                _ask(connection, {"op": "state"}).get("version") != VERSION
                and _ask(connection, {"op": "leave"})["left"]
            ):
                raise ConnectionResetError("a supervisor of another version makes room")
        except (OSError, msgspec.MsgspecError):
            connection.close()
            raise
        return connection

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """One process at a time starts a supervisor; the next one then finds it there."""
        handle = os.open(self._home / "supervisor.start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _start(self) -> None:
        log = self._log()
        said, say = os.pipe()
        with os.fdopen(said, "rb", buffering=0) as reader:
            try:
                process = self._supervisor(log, say)
            finally:
                os.close(say)
            process.wait()  # it goes into the background
            ready, _, _ = select.select([reader], [], [], PATIENCE)
            answer = reader.read(100) if ready else b""
        if answer != b"ready":
            raise Unavailable(f"The supervisor of {self._home} could not be started; {log} says why.")

    def _supervisor(self, log: Path, ready: int) -> subprocess.Popen[bytes]:
        command = [self._python, "-P", "-m", "penstock.runtime.supervisor"]
        options = ["--home", str(self._home), "--server", self._server, "--ready-fd", str(ready)]
        environment = {name: value for name, value in os.environ.items() if name not in _SECRET}
        with log.open("ab") as output:
            return subprocess.Popen(
                command + options,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(ready,),
                start_new_session=True,
                env={**environment, "PENSTOCK_HOME": str(self._home), RUN_VARIABLE: NO_RUN},
            )

    def _log(self) -> Path:
        log = self._home / "logs" / "supervisor.log"
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.touch(mode=0o600)
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
            log.touch(mode=0o600)
        return log


def claim_directory(directory: Path, home: str) -> None:
    """Make sure that sockets in `directory` are ours: one outside the home must belong to us and be closed to others.

    Raises `Unavailable` if somebody else was there first.
    """
    if directory == Path(home):
        return
    for level in (directory.parent, directory):
        level.mkdir(mode=0o700, exist_ok=True)
        found = level.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise Unavailable(
                f"{level} is not a private directory of yours; remove it, or set PENSTOCK_HOME to a shorter path."
            )


def _ask(connection: socket.socket, order: dict[str, Any]) -> dict[str, Any]:
    """One order and its answer. Raises `OSError` if the other side has gone."""
    connection.sendall(msgspec.json.encode(order) + b"\n")
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(1 << 16)
        if not part:
            raise ConnectionResetError("it closed the connection")
        line += part
    answer: dict[str, Any] = msgspec.json.decode(line)
    return answer
