"""`python -m penstock.serve.gate SOCKET HOST PORT`: holds the port of a deployment, and lets containers in at it.

It takes no connection itself. Whoever serves comes to the Unix socket, in a directory that their containers share, and is
given the listening socket: from then on the kernel hands connections to them, and nothing stands between them and their
callers. One waits in the queue of the port while nobody is there to take it. A listening socket works wherever it was
handed to, in whatever network its new holder lives.

Each says which generation it is (`here N`), and that it serves (`ready N`); those before it are then told to `leave`, as
soon as it has. This process imports nothing of Penstock, does nothing while nothing changes, and outlives its image.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST = 64
"""Connections at once: a deployment has two or three."""

_LINE = 100


@dataclass
class Guest:
    """A connection of somebody who serves, or will."""

    connection: socket.socket
    generation: int = -1
    ready: bool = False
    left: bool = False
    heard: bytes = b""


class Gate:
    """One port, and those who take connections from it."""

    def __init__(self, port: socket.socket, door: socket.socket) -> None:
        self._port = port
        self._door = door
        self._guests: dict[int, Guest] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(door, selectors.EVENT_READ)

    def run(self) -> None:
        """Go on until the process ends."""
        while True:
            self.turn(None)

    def turn(self, patience: float | None) -> None:
        """Wait for what happens next, and see to it."""
        for key, _ in self._selector.select(patience):
            if key.fileobj is self._door:
                self._let_in()
            else:
                self._hear(self._guests[key.fd])
        self._send_away()

    def _let_in(self) -> None:
        connection, _ = self._door.accept()
        connection.setblocking(False)
        guest = Guest(connection)
        try:
            if len(self._guests) >= MOST:
                raise BlockingIOError
            socket.send_fds(connection, [b"port\n"], [self._port.fileno()])
        except OSError:
            connection.close()
            return
        self._guests[connection.fileno()] = guest
        self._selector.register(connection, selectors.EVENT_READ)

    def _hear(self, guest: Guest) -> None:
        try:
            data = guest.connection.recv(_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        guest.heard += data
        *lines, guest.heard = guest.heard.split(b"\n")
        if not data or len(guest.heard) > _LINE or not all(_understood(guest, line) for line in lines):
            self._forget(guest)

    def _forget(self, guest: Guest) -> None:
        self._selector.unregister(guest.connection)
        del self._guests[guest.connection.fileno()]
        guest.connection.close()

    def _send_away(self) -> None:
        newest = max((one.generation for one in self._guests.values() if one.ready), default=-1)
        for guest in list(self._guests.values()):
            if 0 <= guest.generation < newest and not guest.left:
                guest.left, guest.ready = True, False
                try:
                    guest.connection.sendall(b"leave\n")
                except OSError:
                    self._forget(guest)


def _understood(guest: Guest, line: bytes) -> bool:
    word, _, number = line.partition(b" ")
    if word not in (b"here", b"ready") or not number.isdigit():
        return False
    guest.generation, guest.ready = int(number), word == b"ready" and not guest.left
    return True


class GateAway(OSError):
    """There is no gate, or no longer."""


class Way:
    """The other side: how somebody who serves comes by the port, and hears when to leave."""

    def __init__(self, path: Path, generation: int) -> None:
        """Raises `GateAway` if nobody answers there."""
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(5.0)
        self._generation = generation
        try:
            self._connection.connect(str(path))
            told, handed, _, _ = socket.recv_fds(self._connection, _LINE, 1)
            if not handed:
                raise GateAway("the gate handed over nothing")
            self.port = socket.socket(fileno=handed[0])
            self._connection.sendall(b"here %d\n" % generation)
        except OSError as error:
            self._connection.close()
            raise GateAway(str(error)) from error
        self._heard = told.partition(b"\n")[2]
        self._connection.setblocking(False)

    def fileno(self) -> int:
        """What to wait on."""
        return self._connection.fileno()

    def say_ready(self) -> None:
        """We serve: those before us may leave."""
        with suppress(OSError):  # then the gate is away, and `told_to_leave` will say so
            self._connection.sendall(b"ready %d\n" % self._generation)

    def told_to_leave(self) -> bool:
        """Whether somebody newer serves. Raises `GateAway`."""
        try:
            data = self._connection.recv(_LINE)
        except BlockingIOError:
            return b"leave\n" in self._heard
        except OSError as error:
            raise GateAway(str(error)) from error
        if not data:
            raise GateAway("the gate has gone")
        self._heard += data
        return b"leave\n" in self._heard

    def close(self) -> None:
        """Go."""
        self._connection.close()


def door(path: Path) -> socket.socket:
    """The Unix socket at `path`, in the place of one that a gate before us has left. Users of containers differ."""
    made = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    made.bind(str(path))
    path.chmod(0o666)
    made.listen(MOST)
    return made


def port(host: str, number: int) -> socket.socket:
    """The listening socket. Raises `OSError` if the port is taken."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, number))
    made.listen(2048)
    return made


def main(arguments: list[str]) -> int:
    """Hold a port until SIGTERM."""
    path, host, number = arguments
    for signalled in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signalled, lambda *_: os._exit(0))
    Gate(port(host, int(number)), door(Path(path))).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
