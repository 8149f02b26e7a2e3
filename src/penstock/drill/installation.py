"""The installation under drill: this Penstock on a home of its own, driven from outside as its operator would."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from penstock.drill.records import Death, History
from penstock.errors import PenstockError

LEASE = 3.0
LEASE_OF_MANY = 10.0
"""Where several servers watch each other, one has to be back within three leases."""

SLOTS = 6
PATIENCE = 60.0
"""Seconds for which a server that starts or leaves is waited for."""

TEMPLATE = "drilled"
NOBODY = "none"
"""The mark of a process that belongs to no run."""

_KEPT = ("PENSTOCK_LAUNCH", "PENSTOCK_PARALLEL_STEPS", "PENSTOCK_WARM_PARENTS")
"""Settings of the operator that hold for the drill, too: how runs are started here."""


class Site:
    """A home in `directory` with its server, which is started again whenever it has died."""

    def __init__(
        self,
        directory: Path,
        history: History,
        *,
        database: str = "",
        shared: Path | None = None,
        preload: Mapping[str, str] | None = None,
    ) -> None:
        """With several servers on one database, `shared` is what all of them see."""
        self.home = directory / "home"
        self.scratch = directory / "tmp"
        self.project = directory / "project"
        for made in (self.home, self.scratch, self.project):
            made.mkdir(mode=0o700)
        self.port = _free_port()
        self._history = history
        self._preload = dict(preload or {})
        self.lease = LEASE if shared is None else LEASE_OF_MANY
        self._environment = _environment(self.home, self.scratch, database, shared)
        self._environment["PENSTOCK_LEASE"] = str(self.lease)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "server.log"
        self._killed = False
        self._leaving = threading.Event()
        self._guard = threading.Thread(target=self._keep, name="guard", daemon=True)
        self.serving = threading.Event()
        """The server answers, as far as is known."""

    def start(self) -> None:
        """Start the server; it is kept up until `stop`."""
        self._begin()
        if not self._answers(PATIENCE):
            raise PenstockError(f"The server of the drill did not come up:\n{self._log.read_text()[-2000:]}")
        self._guard.start()

    def equip(self, pipeline: Path) -> str:
        """Make the template that is triggered; the key of those who trigger it."""
        (self.project / "witnessed.py").write_bytes(pipeline.read_bytes())
        self._command("pipeline", "create-run-template", "witnessed.py:drilled", "--name", TEMPLATE)
        made = self._command(
            "service-account", "create", "drill", "--create-api-key", "--role", "operator", "-o", "json"
        )
        return str(json.loads(made)["api_key"]["key"])

    def kill(self) -> None:
        """Kill -9 of the server; the guard starts another one."""
        self.serving.clear()
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Have the server leave in good order; the guard starts another one."""
        self.serving.clear()
        self._killed = True
        if self._process is not None:
            self._process.terminate()

    def pid(self) -> int:
        """The process that serves now."""
        assert self._process is not None
        return self._process.pid

    def expect_death(self, expected: bool) -> None:
        """Whether something is set up that may end the server now."""
        self._killed = expected

    def stop(self) -> None:
        """Have the server leave in good order, and wait for it."""
        self._leaving.set()
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if status:
            self._history.add(Death(at=time.monotonic(), status=status))
        if self._guard.is_alive():
            self._guard.join()

    def abandon(self) -> None:
        """End whatever is left, by force."""
        self._leaving.set()
        while left := self.processes():
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(0.05)
        if self._process is not None:
            self._process.wait()

    def processes(self) -> list[psutil.Process]:
        """Every live process of this home: each has its path in the environment."""
        return [one for one in psutil.process_iter() if _of(one, str(self.home))]

    def marked(self) -> dict[str, list[psutil.Process]]:
        """The processes of each run that is carried out now, by the mark that they carry."""
        found: dict[str, list[psutil.Process]] = {}
        for process in self.processes():
            mark = mark_of(process)
            if len(mark) == 36 and mark[8:9] == "-" and not mark.startswith("warm"):
                found.setdefault(mark, []).append(process)
        return found

    def warm_parents(self) -> list[psutil.Process]:
        """The processes that have imported a pipeline and wait for runs of it."""
        return [one for one in self.processes() if mark_of(one).startswith("warm")]

    def supervisors(self) -> list[psutil.Process]:
        """The process that looks after runs; more than one would be wrong."""
        return [one for one in self.processes() if "penstock.runtime.supervisor" in _command_of(one)]

    def owner(self, method: str, path: str, content: Any = None) -> Any:
        """Ask as the owner of the home, through its socket. Raises `OSError` if there is no server."""
        status, answer = request(_OwnersLine(str(self.home / "server.sock")), method, path, content)
        if status >= 300:
            raise PenstockError(f"{method} {path} was answered {status}: {answer}")
        return answer

    def check_database(self) -> tuple[int, str]:
        """The exit status of a thorough check of the database, and what it said."""
        done = self._run("db", "check", "--deep", "-o", "json")
        return done.returncode, done.stdout + done.stderr

    def logs(self) -> list[Path]:
        """What the server and its supervisor write for their operator."""
        return [self._log, *sorted((self.home / "logs").glob("*.log"))]

    def _command(self, *words: str) -> str:
        done = self._run(*words)
        if done.returncode:
            raise PenstockError(f"penstock {' '.join(words)} failed:\n{done.stderr}")
        return done.stdout

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "penstock", *words],
            cwd=self.project,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def _begin(self) -> None:
        self._killed = False
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "penstock", "up", "--port", str(self.port)],
                env={**self._environment, **self._preload},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the drill, which then ends it
            )

    def _keep(self) -> None:
        while not self._leaving.is_set():
            assert self._process is not None
            status: int | None = self._process.wait()
            at = time.monotonic()
            self.serving.clear()
            if self._leaving.is_set():
                return
            if status in (0, -signal.SIGKILL) and self._killed:
                status = None
            self._begin()
            back = time.monotonic() - at if self._answers(PATIENCE) else None
            self._history.add(Death(at=at, status=status, back=back))

    def _answers(self, patience: float) -> bool:
        """Whether the server answers, as soon as it does."""
        until = time.monotonic() + patience
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
                if request(line, "GET", "//health/live")[0] == 200:
                    self.serving.set()
                    return True
            time.sleep(0.02)
        return False


class _OwnersLine(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(
    line: http.client.HTTPConnection,
    method: str,
    path: str,
    content: Any = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    """One request on a connection of its own; the status and the JSON of the answer. Raises `OSError`, `HTTPException`.

    `path` is below `/api/v1` unless it starts with `//`.
    """
    body = None if content is None else json.dumps(content)
    sent = {"Connection": "close", **(headers or {}), **({"Content-Type": "application/json"} if body else {})}
    try:
        line.request(method, path[1:] if path.startswith("//") else f"/api/v1{path}", body, sent)
        answer = line.getresponse()
        text = answer.read()
    finally:
        line.close()
    try:
        return answer.status, json.loads(text) if text else None
    except ValueError:
        return answer.status, text[:200].decode(errors="replace")


def mark_of(process: psutil.Process) -> str:
    """Which run a process says that it belongs to."""
    try:
        return process.environ().get("PENSTOCK_RUN_ID", "")
    except (psutil.Error, OSError):
        return ""


def _command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.Error, OSError):
        return ""


def _of(process: psutil.Process, home: str) -> bool:
    try:
        return process.environ().get("PENSTOCK_HOME") == home and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


def _environment(home: Path, scratch: Path, database: str, shared: Path | None) -> dict[str, str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_") or name in _KEPT
    }
    environment |= {
        "PENSTOCK_HOME": str(home),
        "PENSTOCK_GRACE": "1",
        "PENSTOCK_PARALLEL_RUNS": str(SLOTS),
        "PENSTOCK_QUIET": "1",
        # A day that the clock makes up must not be the day after which a key is forgotten.
        "PENSTOCK_IDEMPOTENCY_TTL": str(7 * 24 * 3600),
        "PENSTOCK_CALLBACK_ALLOW": "127.0.0.1/32",
        "PENSTOCK_CALLBACK_TIMEOUT": "5",
        "TMPDIR": str(scratch),
    }
    if database:
        environment["PENSTOCK_DATABASE_URL"] = database
    if shared is not None:
        environment["PENSTOCK_SHARED"] = str(shared)
    return environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
