"""A Penstock installation for one test: a home, a server process, and how to reach it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from penstock.model.launch import socket_path
from tests.ports import FIRST_PORT

T = TypeVar("T")

PATIENCE = 60.0
ENDED = {"completed", "failed", "cancelled"}


def eventually(look: Callable[[], T], *, what: str, patience: float = PATIENCE) -> T:
    """What `look` returns as soon as that is true; fails saying `what` did not happen."""
    deadline, pause = time.monotonic() + patience, 0.005
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        # poll: a condition is waited for, with a deadline. To look all the time would slow down what is waited for.
        time.sleep(pause)
        pause = min(1.4 * pause, 0.1)


class Site:
    """One home with its server. `api` is the owner's door (the Unix socket), `url` the one that needs a key."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
            "PENSTOCK_HOME": str(home),
            "PENSTOCK_LEASE": "3",
            "PENSTOCK_GRACE": "1",
            "FIRST_PORT": str(FIRST_PORT),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.api = httpx.Client()
        self._clients: list[httpx.Client] = []

    def start(self) -> Site:
        """Start the server and wait until it serves."""
        said, say = os.pipe()
        log = (self.home / "server.out").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "penstock.server", "--foreground", "--port", "0", "--ready-fd", str(say)],
            env=self.environment,
            pass_fds=(say,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        os.close(say)
        log.close()
        with os.fdopen(said) as reader:
            answer = reader.read().strip()
        assert answer == "ready", answer + (self.home / "server.out").read_text()
        self.url = json.loads((self.home / "server.json").read_text())["url"]
        self.api.close()
        transport = httpx.HTTPTransport(uds=str(socket_path(self.home, "server.sock")))
        self.api = httpx.Client(transport=transport, base_url="http://penstock/api/v1", timeout=PATIENCE)
        return self

    def kill(self) -> None:
        """End the server as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again on the same home."""
        self.start()

    def stop(self) -> None:
        """Stop the server in good order, or by force if it does not leave; then everything else of this home."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for left in self.processes():
            with suppress(psutil.NoSuchProcess):  # it has left by itself meanwhile
                left.kill()
        for client in (self.api, *self._clients):
            client.close()

    def processes(self) -> list[psutil.Process]:
        """All live processes that belong to this home: they have its path in their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("PENSTOCK_HOME") == str(self.home) and process.status() != "zombie":
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return [one for one in found if one.pid != os.getpid()]

    def penstock(
        self, *arguments: str, status: int | None = 0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line on this home. Fails if it does not exit with `status` (None: whatever it may be)."""
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *arguments],
            env=self.environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
        if status is not None:
            assert done.returncode == status, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def template(self, source: str, name: str) -> None:
        """Freeze the pipeline at `source` as a run template."""
        self.penstock("pipeline", "create-run-template", source, "--name", name)

    def key(self, name: str = "ci", role: str = "operator") -> str:
        """The key of a new service account."""
        self.post("/service_accounts", {"name": name, "role": role}, 201)
        return str(self.post(f"/service_accounts/{name}/api_keys", {"name": "k"}, 201)["key"])

    def keyed(self, key: str) -> httpx.Client:
        """A client that comes over TCP with a key; closed with the site."""
        client = httpx.Client(
            base_url=f"{self.url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE
        )
        self._clients.append(client)
        return client

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at `path`, which must be there."""
        answer = self.api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(
        self, path: str, content: Any = None, status: int | tuple[int, ...] = (200, 201, 202), **headers: str
    ) -> Any:
        """Post JSON; the answer must have one of these statuses."""
        answer = self.api.post(path, json=content, headers={k.replace("_", "-"): v for k, v in headers.items()})
        assert answer.status_code in ((status,) if isinstance(status, int) else status), answer.text
        return answer.json()

    def trigger(self, template: str, parameters: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """Trigger a template; the run as it was answered."""
        run: dict[str, Any] = self.post(f"/run_templates/{template}/runs", {"parameters": parameters or {}}, **headers)
        return run

    def ended(self, run_id: str, patience: float = PATIENCE) -> dict[str, Any]:
        """The run once it has ended."""
        deadline = time.monotonic() + patience
        while True:
            answer = self.api.get(f"/runs/{run_id}", headers={"Prefer": "wait=5"})
            assert answer.status_code == 200, answer.text
            run: dict[str, Any] = answer.json()
            if run["state"] in ENDED:
                return run
            assert time.monotonic() < deadline, f"{run['name']} is still {run['state']} after {patience:.0f} s"

    def reaches(self, run_id: str, states: Iterable[str]) -> dict[str, Any]:
        """The run once it is in one of these states."""
        wanted = set(states)

        def look() -> dict[str, Any] | None:
            run: dict[str, Any] = self.get(f"/runs/{run_id}")
            assert run["state"] in wanted or run["state"] not in ENDED, run
            return run if run["state"] in wanted else None

        found = eventually(look, what=f"run {run_id} in {sorted(wanted)}")
        assert found is not None
        return found

    def lines(self, run_id: str, **query: Any) -> list[str]:
        """The texts of the run's output."""
        return [line["text"] for line in self.get(f"/runs/{run_id}/logs", **query)["lines"]]
