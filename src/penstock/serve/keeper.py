"""`python -m penstock.serve.keeper DIRECTORY`: keeps one deployment of this machine up, whatever becomes of its processes.

It owns the listening socket, so nobody who calls is refused while a process is exchanged: a new revision comes up beside the
old one, which serves until the new one is ready and then drains. What dies is started again, after longer and longer pauses.

The directory holds `plan.json`, which whoever wants another revision replaces before sending SIGHUP; the keeper writes
`state.json` and `log`, and holds `keeper.lock` for as long as it lives. It imports little: one stays for each deployment.
In a container it is the first process (`penstock.serve.container`).
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
"""Seconds before a process that died is started again: doubled each time, until one has lived for `SOUND`."""

SOUND = 10.0
PATIENCE = 600.0
"""Seconds that a process may take to be ready."""

LOG_LIMIT = 10 * 1024 * 1024

TRIES = 20
"""How often the lock is tried, every 10 ms: whoever looks at it has it for a moment."""


class Worker:
    """One process of one revision."""

    def __init__(self, directory: Path, plan: Path, sock: socket.socket, log: int) -> None:
        said, say = os.pipe()
        self.begun = time.monotonic()
        self.ready = False
        self.told = b""
        self.said: int | None = said
        command = [
            sys.executable,
            "-m",
            "penstock.serve",
            str(plan),
            "--fd",
            str(sock.fileno()),
            "--ready-fd",
            str(say),
        ]
        with suppress(FileNotFoundError):
            command += json.loads((directory / "arguments.json").read_text())
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(sock.fileno(), say),
                process_group=0,
            )
        except OSError:
            os.close(said)
            raise
        finally:
            os.close(say)

    def hear(self) -> None:
        """Take in what it says of itself: that it is ready, or why it cannot be.

        One that is ready has nothing more to say. Its end need not come: processes that it has forked hold the pipe, too.
        """
        assert self.said is not None
        data = os.read(self.said, 4096)
        self.told += data
        self.ready = self.told == b"ready"
        if not data or self.ready:
            self.hush()

    def hush(self) -> None:
        """Hear nothing more of it."""
        if self.said is not None:
            os.close(self.said)
            self.said = None

    def stop(self) -> None:
        """Have it leave in good order."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, with all that it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Keeper:
    """The workers of one deployment, and what is known of them."""

    def __init__(
        self, directory: Path, sock: socket.socket, *, log: int | None = None, plan: Path | None = None
    ) -> None:
        """Its processes write to the descriptor `log`: by default the file of that name. `plan` may lie somewhere else."""
        self._directory = directory
        self._socket = sock
        self._own_log = log
        self._log = log if log is not None else self._opened_log()
        self._plan: dict[str, Any] = {}
        self._path = plan or directory / "plan.json"
        self._serving: list[Worker] = []
        self._coming: list[Worker] = []
        self._leaving: list[tuple[Worker, float]] = []
        self._pause = FIRST_PAUSE
        self._next_start: float | None = None
        self._restarts = 0
        self._error: str | None = None
        self._stopping = False
        self._asked = False

    def run(self) -> None:
        """Keep it up until SIGTERM."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        signal.signal(signal.SIGINT, lambda *_: self._stop())
        signal.signal(signal.SIGHUP, lambda *_: self._ask())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._roll()
        while not (self._stopping and not self._all()):
            said = [one.said for one in self._all() if one.said is not None]
            readable, _, _ = select.select([reading, *said, *self._ways()], [], [], self._idle())
            if reading in readable:
                os.read(reading, 4096)
            self._hear_others()
            for worker in self._all():
                if worker.said in readable:
                    worker.hear()
            self._look()
            if os.getpid() == 1:
                self._bury()
        self._write("absent")

    def _all(self) -> list[Worker]:
        return [*self._serving, *self._coming, *(one for one, _ in self._leaving)]

    def _idle(self) -> float:
        if self._next_start is not None:
            return min(max(0.01, self._next_start - time.monotonic()), 1.0)
        return 1.0

    def _stop(self) -> None:
        self._stopping = True

    def _ask(self) -> None:
        self._asked = True

    def _ways(self) -> list[int]:
        """Descriptors on which somebody else may say something."""
        return []

    def _hear_others(self) -> None:
        """Take in what they have said, if anything."""

    def _bury(self) -> None:
        """Take notice of the end of processes whose parents are gone: they fall to the first one of a container."""
        ours = {one.process.pid for one in self._all()}
        with suppress(ChildProcessError):
            while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if dead.si_pid in ours:
                    return  # of these `Popen` takes notice, at the next look
                os.waitpid(dead.si_pid, 0)

    # What has happened

    def _look(self) -> None:
        now = time.monotonic()
        for worker, deadline in list(self._leaving):
            if worker.process.poll() is not None:
                self._leaving.remove((worker, deadline))
                worker.kill()  # what it left behind
                worker.hush()
            elif now > deadline:
                worker.kill()
        if self._stopping:
            self._leave_all()
            return
        self._look_at_serving(now)
        self._look_at_coming(now)
        if self._asked:
            self._asked = False
            self._error, self._pause = None, FIRST_PAUSE
            self._roll()
        if self._next_start is not None and now >= self._next_start:
            self._next_start = None
            self._roll()
        if self._own_log is None and os.fstat(self._log).st_size > LOG_LIMIT:
            self._turn_log()

    def _look_at_serving(self, now: float) -> None:
        dead = [one for one in self._serving if one.process.poll() is not None]
        for worker in dead:
            self._serving.remove(worker)
            worker.kill()
            self._restarts += 1
            if now - worker.begun > SOUND:
                self._pause = FIRST_PAUSE
            self._later(f"A process of the service ended: {_ended(worker)}.")

    def _look_at_coming(self, now: float) -> None:
        if not self._coming:
            return
        failed = [one for one in self._coming if one.process.poll() is not None]
        late = [one for one in self._coming if not one.ready and now - one.begun > PATIENCE]
        if failed or late:
            why = _last_words(failed[0]) if failed else f"It was not ready within {PATIENCE:g} s."
            self._give_up_coming()
            self._later(why)
        elif all(one.ready for one in self._coming):
            for worker in self._serving:
                self._leave(worker)
            self._serving, self._coming, self._error = self._coming, [], None
            self._next_start = None  # what had died is replaced by these
            self._write("running")

    def _later(self, error: str) -> None:
        """Try again after a while. What serves goes on serving meanwhile."""
        self._error = error
        self._next_start = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._write("error")

    # What is done about it

    def _roll(self) -> None:
        """Bring up the processes of the plan as it is now, beside those that serve."""
        for worker in self._coming:
            worker.kill()
            self._leaving.append((worker, 0.0))
        try:
            self._plan = json.loads(self._path.read_text())
        except (OSError, ValueError) as error:
            self._coming = []
            self._later(f"The plan cannot be read: {error}.")
            return
        count = self._plan["settings"]["uvicorn_workers"]
        self._coming = []
        try:
            for _ in range(count):
                self._coming.append(Worker(self._directory, self._path, self._socket, self._log))
        except OSError as error:
            self._give_up_coming()
            self._later(f"A process cannot be started: {error}.")
            return
        self._write("pending")

    def _give_up_coming(self) -> None:
        for worker in self._coming:
            worker.kill()
            worker.process.wait()
            worker.hush()
        self._coming = []

    def _leave_all(self) -> None:
        for worker in (*self._serving, *self._coming):
            self._leave(worker)
        self._serving, self._coming, self._next_start = [], [], None

    def _leave(self, worker: Worker) -> None:
        worker.stop()
        settings = self._plan.get("settings", {})
        self._leaving.append((worker, time.monotonic() + settings.get("drain", 30.0) + 20.0))

    def _write(self, state: str) -> None:
        """Say how it stands, for whoever looks."""
        serving = [one.process.pid for one in self._serving]
        told = {
            "state": state,
            "error": self._error,
            "pid": os.getpid(),
            "port": self._socket.getsockname()[1],
            "host": self._socket.getsockname()[0],
            "revision": self._plan.get("revision"),
            "workers": serving,
            "restarts": self._restarts,
        }
        draft = self._directory / "state.json.new"
        with suppress(OSError):  # a disk that is full keeps nobody from being served
            draft.write_text(json.dumps(told))
            draft.replace(self._directory / "state.json")

    def _opened_log(self) -> int:
        return os.open(self._directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _turn_log(self) -> None:
        """Keep one older log. Processes that run hold the file itself, so it is copied and cut, not renamed."""
        log = self._directory / "log"
        with suppress(OSError):
            log.with_suffix(".1").write_bytes(log.read_bytes())
            os.truncate(log, 0)


def listening(host: str, ports: list[int]) -> socket.socket:
    """A socket on the first of these ports that is free. Raises `PenstockError` if none is."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in ports:
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
            sock.listen(2048)
        except OSError:
            sock.close()
            continue
        return sock
    raise PenstockError(f"None of the ports can be used on {host}: {', '.join(map(str, ports[:5]))} ...")


def _last_words(worker: Worker) -> str:
    """Why a process has ended that was coming up: what it said of it, if anything."""
    while worker.said is not None and select.select([worker.said], [], [], 0)[0]:
        worker.hear()
    if worker.told and not worker.ready:
        return worker.told.decode(errors="replace")
    return f"A process of the service ended while it came up: {_ended(worker)}."


def _ended(worker: Worker) -> str:
    status = worker.process.returncode
    return f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"


def _taken(lock: int) -> bool:
    """Whether the lock is ours now."""
    for _ in range(TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.01)
    return False


def main(arguments: list[str]) -> int:
    """Keep the deployment in a directory up. The exit status is 0, and 1 if somebody else does already or no port is free."""
    directory = Path(arguments[0])
    lock = os.open(directory / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _taken(lock):
        return 1
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    place = json.loads((directory / "place.json").read_text())
    before: list[int] = []
    with suppress(OSError, ValueError, KeyError):
        before = [json.loads((directory / "state.json").read_text())["port"]]
    try:
        sock = listening(place["host"], [*before, *place["ports"]])
    except PenstockError as error:
        (directory / "state.json").write_text(json.dumps({"state": "error", "error": error.detail}))
        return 1
    Keeper(directory, sock).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
