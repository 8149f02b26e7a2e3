"""What every benchmark uses: a private place, processes that end with it, and samples that are taken in turns."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil

PATIENCE = 60.0
"""Seconds after which something that should have happened is taken for broken."""

PAUSE = 0.1
"""Seconds in which what came before comes to rest, so that no sample pays for another."""

SUBJECTS = Path(__file__).with_name("subjects")

Sample = Sequence[float]


class Wrong(Exception):
    """A result was not what it should have been: no figure is worth anything then."""


def check(right: bool, what: str) -> None:
    """Raise `Wrong`, saying `what`, unless it is right."""
    if not right:
        raise Wrong(what)


def in_turns(
    rounds: int, ours: Callable[[], Sample], yardstick: Callable[[], Sample]
) -> tuple[list[Sample], list[Sample]]:
    """Samples of both, one of each in every round, in the same minute on the same machine; who is first changes.

    Both give several numbers at once; what comes back is a list of samples for each of these. A first round warms the
    caches (bytecode, files, connections), and is not counted.
    """
    ours_taken, yardstick_taken = [], []
    for turn in range(rounds + 1):
        if turn % 2:
            mine, other = ours(), yardstick()
        else:
            other, mine = yardstick(), ours()
        if turn:
            ours_taken.append(mine)
            yardstick_taken.append(other)
    return list(zip(*ours_taken, strict=True)), list(zip(*yardstick_taken, strict=True))


def took(action: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def wait_until(look: Callable[[], object], what: str) -> None:
    """Return as soon as `look` gives something true; `Wrong` if that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        check(time.monotonic() < deadline, f"{what}: not within {PATIENCE:.0f} s")
        time.sleep(0.002)


class Lab:
    """A directory for homes, projects and logs. Whatever was started here has ended when the block ends, however it does."""

    def __enter__(self) -> Self:
        self.path = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
        self._count = 0
        return self

    def __exit__(self, *_: object) -> None:
        impatient = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        try:
            self.end(self.path)
            shutil.rmtree(self.path, ignore_errors=True)
        finally:
            signal.signal(signal.SIGINT, impatient)

    def new(self, name: str) -> Path:
        """A directory that nobody has used yet."""
        self._count += 1
        path = self.path / f"{self._count}-{name}"
        path.mkdir(mode=0o700)
        return path

    def project(self, *subjects: str) -> Path:
        """A directory of its own with these files of `subjects/`, as a small project of a user."""
        project = self.new("project")
        for name in subjects:
            shutil.copy(SUBJECTS / name, project)
        return project

    def environment(self, home: Path) -> dict[str, str]:
        """The environment of a child: bytecode caches on, and no setting of whoever calls us."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        ours.pop("PYTHONDONTWRITEBYTECODE", None)
        # The mark by which everything that is started here can be found again.
        return {**ours, "PENSTOCK_HOME": str(home), "PENSTOCK_QUIET": "1"}

    def python(self, *arguments: str, home: Path, cwd: Path | None = None) -> str:
        """What a Python process with these arguments prints. `Wrong` if it fails."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment(home),
            cwd=cwd or self.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        check(done.returncode == 0, f"{' '.join(arguments)}: exit status {done.returncode}\n{done.stderr}")
        return done.stdout

    def serve(self, home: Path, *arguments: str, cwd: Path | None = None, **settings: str) -> Server:
        """Start `python ARGUMENTS --port P`, a server, and wait until its `/health` answers."""
        return Server([sys.executable, *arguments], self.environment(home) | settings, home, cwd or self.path)

    def penstock(self, home: Path, **settings: str) -> Server:
        """Penstock's server for this home, with these variables in its environment."""
        return self.serve(home, "-m", "penstock", "up", **settings)

    def plain(self) -> Server:
        """The yardstick of everything that is asked over HTTP: FastAPI, uvicorn and SQLite, and nothing else."""
        arguments = ("-m", "uvicorn", "plain_app:app", "--no-access-log", "--log-level", "warning")
        return self.serve(self.new("plain"), *arguments, cwd=SUBJECTS)

    def last_words(self) -> str:
        """The end of every log that was written here: why a result is wrong, most often."""
        logs = sorted(self.path.rglob("*.log"))
        return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def end(self, home: Path) -> None:
        """End every process with a home at or below this path, and wait until they are gone."""
        found = _living(home)
        for process in found:
            _tell(process, signal.SIGTERM)
        _, stubborn = psutil.wait_procs(found, timeout=10)
        for process in {*stubborn, *_living(home)}:
            _tell(process, signal.SIGKILL)
        wait_until(lambda: not _living(home), "the end of what was started")


class Server:
    """A server of this benchmark, on a port of its own."""

    def __init__(self, command: list[str], environment: Mapping[str, str], home: Path, cwd: Path) -> None:
        self.port = _free_port()
        self.home = home
        begun = time.perf_counter()
        with (home / "out.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours to hear, and the end of our children ours to order
            )
        wait_until(self._healthy, f"{' '.join(command)} serves")
        self.came_up = time.perf_counter() - begun
        """Seconds from its start until it was healthy."""

    def memory(self) -> tuple[float, float]:
        """MiB of all processes of this home: with what they share with others (RSS), and for themselves alone (USS)."""
        held = [process.memory_full_info() for process in _living(self.home)]
        return sum(one.rss for one in held) / 2**20, sum(one.uss for one in held) / 2**20

    def living(self) -> list[psutil.Process]:
        """All processes of this home."""
        return _living(self.home)

    def stop(self) -> None:
        """End it in good order."""
        self.process.terminate()
        self.process.wait(PATIENCE)

    def caller(self, key: str | None = None) -> Caller:
        """Somebody who asks this server."""
        return Caller(self.port, key)

    def _healthy(self) -> bool:
        check(self.process.poll() is None, f"A server ended at once:\n{(self.home / 'out.log').read_text()}")
        try:
            return self.caller().ask("GET", "/health")[0] == 200
        except OSError:
            return False


class Caller:
    """HTTP with JSON, each time over a new connection, as curl does it."""

    def __init__(self, port: int, key: str | None) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, method: str, path: str, content: object = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            body = None if content is None else json.dumps(content)
            given = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body=body, headers={**self._headers, **given, **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def ended(self, run: Mapping[str, Any]) -> Any:
        """The run of Penstock's when it has ended. `Wrong` if it did not complete."""
        while run["state"] not in {"completed", "failed", "cancelled"}:
            status, run = self.ask("GET", f"/api/v1/runs/{run['id']}", Prefer="wait=30")
            check(status == 200, f"a run was answered with {status}: {run}")
        check(run["state"] == "completed", f"a run has {run['state']}: {run.get('error')}")
        return run


def template(lab: Lab, server: Server, subject: str) -> Caller:
    """Freeze `subject` (`name`.py with a pipeline `name`) as a template `name`; a caller with a key of its own."""
    project = lab.project(f"{subject}.py")
    source = f"{subject}.py:{subject}"
    cli = ("-m", "penstock")
    lab.python(*cli, "pipeline", "create-run-template", source, "--name", subject, home=server.home, cwd=project)
    account = (
        "service-account",
        "create",
        f"for-{subject}",
        "--role",
        "editor",
        "--create-api-key",
        "--output",
        "json",
    )
    made = json.loads(lab.python(*cli, *account, home=server.home))
    return server.caller(made["api_key"]["key"])


def _living(home: Path) -> list[psutil.Process]:
    """The live processes that carry a home at or below this path in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            theirs = process.environ().get("PENSTOCK_HOME", "")
            if Path(theirs).is_relative_to(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # it has ended meanwhile, or is somebody else's
            continue
    return found


def _tell(process: psutil.Process, what: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(what)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
