"""Services on this machine: each has a keeper, a process of its own that outlives whoever asked for it."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from penstock.errors import InvalidInput, Unavailable, fault
from penstock.locks import is_held
from penstock.model.deployment import DeploymentState, Plan, Standing
from penstock.model.launch import NO_RUN, RUN_VARIABLE

MOST_PORTS = 200
"""Ports that are tried, one after the other."""

_TAIL = 4 * 1024 * 1024
_SECRET = ("PENSTOCK_API_KEY", "PENSTOCK_DATABASE_URL", "PENSTOCK_URL")


class LocalDeployer:
    """The deployer `local`. `home` is the directory of the installation.

    A service listens on `address` and `port`; where one of them is not said, on the one of the deployment settings. Is the
    port taken, then with `allocate_port_if_busy` on the next of `port_range` that is free. It keeps its port. Other machines
    are let in only where callers need a key. A companion listens on 127.0.0.1 only: whoever asks it is here.
    """

    def __init__(
        self,
        home: str,
        address: str | None = None,
        port: int | None = None,
        allocate_port_if_busy: bool = True,
        port_range: list[int] | tuple[int, int] = (8000, 65535),
        python: str | None = None,
    ) -> None:
        low, high = port_range
        if not 0 < low <= high < 65536:
            mistake = fault("/deployer/options/port_range", "Expected two ports, the lower one first.")
            raise InvalidInput(f"{port_range} is no range of ports.", errors=[mistake])
        self._home = Path(home)
        self._address = address
        self._ports = (port, allocate_port_if_busy, low, high)
        self._python = python or sys.executable

    def apply(self, plan: Plan) -> None:
        """See `Deployer`."""
        host = "127.0.0.1" if plan.seat is not None else self._address or plan.host
        if not (plan.auth or _is_loopback(host)):
            raise InvalidInput(
                f"A service on {host} is open to other machines: make it a key first, or leave it on 127.0.0.1.",
                errors=[fault("/settings/uvicorn_host", "Callers need no key here.")],
            )
        directory = self._directory(plan.deployment_id)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _written(directory / "plan.json", msgspec.json.encode(plan))
        if self._alive(directory):
            self._signal(directory, signal.SIGHUP)
            return
        place = {"host": host, "ports": self._wanted(plan)}
        _written(directory / "place.json", msgspec.json.encode(place))
        with suppress(FileNotFoundError):
            state = _read(directory / "state.json")
            _written(directory / "state.json", msgspec.json.encode({**state, "state": "pending", "pid": None}))
        self._start(directory)

    def state(self, deployment_id: str) -> Standing:
        """See `Deployer`."""
        directory = self._directory(deployment_id)
        alive = self._alive(directory)
        try:
            told = _read(directory / "state.json")
        except FileNotFoundError:
            return Standing(state=DeploymentState.PENDING if alive else DeploymentState.ABSENT)
        if not alive:
            # A keeper that could not even begin says why; one that is gone otherwise was ended from outside.
            failed = told.get("state") == "error" and told.get("pid") is None
            state = DeploymentState.ERROR if failed else DeploymentState.ABSENT
            return Standing(state=state, reason=told.get("error") if failed else None)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(told["host"], told["host"])  # noqa: S104  # names this machine
        url = f"http://[{host}]:{told['port']}" if ":" in host else f"http://{host}:{told['port']}"
        if told["state"] == DeploymentState.ABSENT:  # it is going, and not gone yet
            return Standing(state=DeploymentState.PENDING)
        return Standing(
            state=DeploymentState(told["state"]), url=url, reason=told.get("error"), revision=told.get("revision")
        )

    def logs(self, deployment_id: str, tail: int) -> list[str]:
        """See `Deployer`."""
        log = self._directory(deployment_id) / "log"
        try:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _TAIL))
                return file.read().decode(errors="replace").splitlines()[-tail:]
        except FileNotFoundError:
            return []

    def remove(self, deployment_id: str) -> None:
        """See `Deployer`. Records that its service could not deliver are dropped with it only if it is gone."""
        directory = self._directory(deployment_id)
        if self._alive(directory):
            self._signal(directory, signal.SIGTERM)
            return
        shutil.rmtree(directory, ignore_errors=True)

    def _directory(self, deployment_id: str) -> Path:
        return self._home / "deployments" / deployment_id

    def _wanted(self, plan: Plan) -> list[int]:
        port, allocate, low, high = self._ports
        if plan.seat is not None:  # what is said of a port is said of the deployment that is asked
            port, allocate = None, True
        first = port if port is not None else plan.port
        others = range(max(low, first) if low <= first <= high else low, high + 1)
        return [first, *others[:MOST_PORTS]] if allocate else [first]

    def _start(self, directory: Path) -> None:
        """Start the keeper, and return when it has begun. It ignores SIGHUP until it knows what that means."""
        command = [self._python, "-P", "-m", "penstock.serve.keeper", str(directory)]
        environment = {name: value for name, value in os.environ.items() if name not in _SECRET}
        log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            subprocess.Popen(
                ["/bin/sh", "-c", 'trap "" HUP; "$@" & ', "keeper", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**environment, "PENSTOCK_HOME": str(self._home), RUN_VARIABLE: NO_RUN},
            ).wait()
        except OSError as error:
            raise Unavailable(f"The keeper of a deployment cannot be started: {error}.") from error
        finally:
            os.close(log)
        deadline = time.monotonic() + 10.0
        while not self._alive(directory) and time.monotonic() < deadline:
            time.sleep(0.02)  # a lock has no event

    def _signal(self, directory: Path, number: int) -> None:
        with suppress(OSError, ValueError):
            os.kill(int((directory / "keeper.lock").read_text()), number)

    def _alive(self, directory: Path) -> bool:
        """Whether a keeper holds its lock."""
        return is_held(directory / "keeper.lock")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _written(path: Path, data: bytes) -> None:
    """Write where only the owner can read: plans hold credentials."""
    draft = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    draft.replace(path)
