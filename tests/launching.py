"""A home with a pretend server, for tests of what starts and ends runs: real processes, told apart from all others."""

from __future__ import annotations

import os
import re
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil

import penstock.errors
from penstock.author.archive import pack
from penstock.ids import new_id
from penstock.model.launch import Exit, Orders, Report, Ticket, socket_path
from penstock.model.stack import Component
from penstock.runtime.orders import Answer
from penstock.stack.flavors.local import LocalLauncher

T = TypeVar("T")

SOURCES = Path(penstock.errors.__file__).parents[1]

STAND_IN = """
# Python imports this at every start. A run is then a call of a plain function, not of a pipeline.
import importlib, sys, types

def main(ticket):
    module, _, attribute = ticket.source.partition(":")
    for note in ticket.notes:
        print("note:", note, file=sys.stderr, flush=True)
    return getattr(importlib.import_module(module), attribute)(**ticket.parameters) or 0

sys.modules["penstock.runtime.run"] = types.ModuleType("penstock.runtime.run")
sys.modules["penstock.runtime.run"].main = main
sys.modules["penstock.runtime.materializers"] = types.ModuleType("penstock.runtime.materializers")
"""


def eventually(look: Callable[[], T], patience: float = 60.0) -> T:
    """What `look` returns, as soon as that is true."""
    deadline, pause = time.monotonic() + patience, 0.005
    while not (found := look()):
        assert time.monotonic() < deadline, "it never happened"
        # poll: the only sleep of these tests. To look all the time would slow down what is waited for.
        time.sleep(pause)
        pause = min(1.4 * pause, 0.1)
    return found


class PretendServer:
    """Takes reports and hands out code on the Unix socket of a home. It can go away and come back."""

    def __init__(self, home: Path) -> None:
        self.path = socket_path(home, "server.sock")
        self.archives: dict[str, bytes] = {}
        self.reports: list[Report] = []
        self.exits: dict[tuple[str, int], Exit] = {}
        self.orders = Orders()
        self._serving: socketserver.BaseServer | None = None

    def come(self) -> None:
        """Begin to answer."""
        self.path.unlink(missing_ok=True)
        self._serving = _Server(str(self.path), _handler(self))
        threading.Thread(target=self._serving.serve_forever, args=(0.01,), daemon=True).start()

    def go(self) -> None:
        """Answer no more, not even on connections that are there."""
        if self._serving is not None:
            self._serving.shutdown()
            self._serving.server_close()
            self.path.unlink(missing_ok=True)
            self._serving = None

    def exit_of(self, ticket: Ticket) -> Exit:
        """How the run's process ended, as soon as it is reported."""
        return eventually(lambda: self.exits.get((ticket.run_id, ticket.fence)))

    def take(self, report: Report) -> Orders:
        self.reports.append(report)
        self.exits |= {(one.run_id, one.fence): one for one in report.exits}
        held = {one.run_id for one in report.held}
        return Orders(stop={run_id: why for run_id, why in self.orders.stop.items() if run_id in held})


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def _handler(server: PretendServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/v1/launchers/report"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(msgspec.json.encode(server.take(msgspec.json.decode(body, type=Report))))

        def do_GET(self) -> None:
            found = re.fullmatch("/api/v1/code/([0-9a-f]{64})", self.path)
            assert found
            self._answer(server.archives[found[1]])

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


class Household:
    """A home, its pretend server, and launchers that start a real supervisor."""

    def __init__(self, home: Path, project: Path) -> None:
        self.home = home
        self.server = PretendServer(home)
        self.address = f"unix:{self.server.path}"
        self.launcher = LocalLauncher(str(home), self.address)
        self.notes = home / "notes"
        self.code = self.archive(project)

    def archive(self, project: Path) -> str:
        """Make the code of a directory available; its digest."""
        archive = pack(project)
        self.server.archives[archive.digest] = archive.tar()
        return archive.digest

    def ticket(self, source: str, *, fence: int = 1, **changes: Any) -> Ticket:
        """A ticket for a run of the function `source`; its arguments are `parameters`."""
        fields: dict[str, Any] = {
            "run_id": new_id(),
            "run_name": source,
            "fence": fence,
            "pipeline": source,
            "source": source,
            "code": self.code,
            "parameters": {},
            "step_parameters": {},
            "artifact_store": Component(flavor="file"),
            "server": self.address,
            "token": "secret-of-one-run",
            "home": str(self.home),
            "lease": 2.0,
            "grace": 0.5,
        }
        return Ticket(**{**fields, **changes})

    def launch(self, source: str, **changes: Any) -> Ticket:
        """Launch such a run."""
        ticket = self.ticket(source, **changes)
        self.launcher.launch(ticket)
        return ticket

    def noted(self, count: int = 1) -> list[str]:
        """What runs wrote into the file `notes`, as soon as there are so many lines."""

        def lines() -> list[str]:
            found = self.notes.read_text().splitlines() if self.notes.exists() else []
            return found if len(found) >= count else []

        return eventually(lines)

    def supervisor(self) -> Answer | None:
        """What the supervisor says of itself, if there is one."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(socket_path(self.home, "supervisor.sock")))
                connection.sendall(b'{"op": "state"}\n')
                return msgspec.json.decode(connection.makefile("rb").readline(), type=Answer)
            except (OSError, msgspec.DecodeError):
                return None

    def pid(self) -> int:
        """The pid of the supervisor."""
        answer = eventually(self.supervisor)
        assert answer.pid is not None
        return answer.pid

    def staff(self) -> set[int]:
        """The supervisor and its warm parents: what may be there while no run is."""
        answer = eventually(self.supervisor)
        return {*answer.parents, answer.pid or 0, answer.spare or answer.pid or 0}

    def processes(self) -> list[int]:
        """Every live process that belongs to this home."""
        return [pid for pid, environment in _environments() if environment.get("PENSTOCK_HOME") == str(self.home)]

    def log(self) -> str:
        """What the supervisor and its children wrote."""
        return (self.home / "logs" / "supervisor.log").read_text()


def alive(pid: int) -> bool:
    """Whether this process is there, and no zombie."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _environments() -> Iterator[tuple[int, Mapping[str, str]]]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid, process.environ()


@contextmanager
def household(home: Path, project: Path, tmp_path: Path, environment: Any) -> Iterator[Household]:
    """A household that leaves nothing behind; `environment` is pytest's `monkeypatch`."""
    stand_in = tmp_path / "stand-in"
    stand_in.mkdir()
    (stand_in / "sitecustomize.py").write_text(STAND_IN)
    environment.setenv("PYTHONPATH", os.pathsep.join([str(stand_in), str(SOURCES)]))
    environment.setenv("PENSTOCK_LEASE", "2")
    made = Household(home, project)
    made.server.come()
    try:
        yield made
        made.launcher.close()
        answer = made.supervisor()
        if answer is not None and answer.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(answer.pid, signal.SIGTERM)
        eventually(lambda: not made.processes())
    finally:
        for pid in made.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        made.server.go()
