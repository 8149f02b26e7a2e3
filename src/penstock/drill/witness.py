"""The witness: takes down what steps say that they do, in a file outside the product, before they go on."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from penstock.drill.records import STEPS, Deed, History

_decode = msgspec.json.Decoder(Deed).decode


class Witness:
    """Listens on a Unix socket. A step that got its answer knows that its word is on disk, whatever dies next."""

    def __init__(self, directory: Path, history: History) -> None:
        self.path = directory / "witness.sock"
        self._file = os.open(directory / "witness.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._history = history
        self._lock = threading.Lock()
        self._gates: dict[int, threading.Barrier] = {}
        self._server = _Listener(str(self.path), self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="witness", daemon=True).start()

    def gather(self, orders: Collection[int], patience: float) -> None:
        """Let the first step of each of these orders go on when all of them have begun, or when some have waited for so long."""
        gate = threading.Barrier(len(orders), timeout=patience)
        self._gates = dict.fromkeys(orders, gate)

    def hold(self, deed: Deed) -> None:
        """Return when whoever did this may go on."""
        gate = self._gates.get(deed.order) if deed.event == "begin" and deed.step == STEPS[0] else None
        if gate is not None:
            with suppress(threading.BrokenBarrierError):  # some never came
                gate.wait()

    def take(self, line: bytes) -> Deed:
        """Write down one deed, with the time at which it came."""
        with self._lock:
            deed = replace(_decode(line), at=time.monotonic())
            os.write(self._file, msgspec.json.encode(deed) + b"\n")
            os.fdatasync(self._file)
            self._history.add(deed)
            return deed

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        os.close(self._file)


class _Listener(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: str, witness: Witness) -> None:
        self.witness = witness
        super().__init__(path, _Word)

    def handle_error(self, request: object, client_address: object) -> None:
        """A worker that was killed in the middle of a word has said nothing."""


class _Word(socketserver.StreamRequestHandler):
    server: _Listener
    request: socket.socket

    def handle(self) -> None:
        line = self.rfile.readline()
        if line.endswith(b"\n"):
            self.server.witness.hold(self.server.witness.take(line))
            self.request.sendall(b"+")
