"""A service in the foreground, for whoever writes the pipeline: from the files as they are, and again when they change."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from penstock.author.freeze import freeze
from penstock.author.pipeline import Pipeline
from penstock.author.source import load_source, locate
from penstock.errors import AuthoringError
from penstock.ids import new_id
from penstock.model.deployment import Plan
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.snapshot import Snapshot, snapshot_id
from penstock.serve.fetching import written
from penstock.serve.keeper import Keeper

LOOK = 0.3
"""Seconds between two looks at the files."""


def plan_of(pipeline: Pipeline, home: str, *, host: str, port: int) -> Plan:
    """A plan for the pipeline as it is written now, which tells nobody of its requests."""
    content = freeze(pipeline, lenient=True).content
    snapshot = Snapshot(id=snapshot_id(content), pipeline_id="", content=content, created=datetime.now(UTC))
    settings = (content.given.settings.deployment or content.configuration.settings.deployment) or DeploymentSettings()
    return Plan(
        deployment_id=new_id(),
        deployment_name=content.pipeline,
        snapshot=snapshot,
        settings=settings,
        auth=settings.auth == "server",
        host=host,
        port=port,
        home=home,
    )


def keep_up(source: str, sock: socket.socket, directory: Path, home: str, *, reload: bool) -> None:
    """Serve `source` until Ctrl-C. `directory` is a private one, for plans."""
    root = locate(load_source(source)).root
    if root is None:
        raise AuthoringError(f"'{source}' cannot be served: {locate(load_source(source)).note}")
    (directory / "arguments.json").write_text(msgspec.json.encode(["--directory", str(root)]).decode())
    _write_plan(source, sock, directory, home)
    if reload:
        watcher = threading.Thread(target=_watch, args=(source, root, sock, directory, home), daemon=True)
        watcher.start()
    Keeper(directory, sock, log=2).run()


def _watch(source: str, root: Path, sock: socket.socket, directory: Path, home: str) -> None:
    """Have a new revision come up whenever a file changes. One that does not come up leaves the old one serving."""
    seen = _times(root)
    while True:
        time.sleep(LOOK)
        now = _times(root)
        if now == seen:
            continue
        seen = now
        print("penstock: the code has changed", file=sys.stderr, flush=True)
        if _write_plan(source, sock, directory, home):
            os.kill(os.getpid(), signal.SIGHUP)


def _write_plan(source: str, sock: socket.socket, directory: Path, home: str) -> bool:
    """Freeze the source in a process of its own, since this one would have the old modules; whether it could be."""
    host, port = sock.getsockname()[:2]
    command = [sys.executable, "-m", "penstock.serve.foreground", source, str(directory), home, host, str(port)]
    return subprocess.run(command, check=False).returncode == 0


def _times(root: Path) -> dict[Path, int]:
    found = {}
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith((".", "__pycache__"))]
        for name in files:
            if name.endswith((".py", ".yaml", ".yml", ".json", ".toml", ".html")):
                path = Path(folder, name)
                with suppress(OSError):  # editors put files there that are gone at the next moment
                    found[path] = path.stat().st_mtime_ns
    return found


def main(arguments: list[str]) -> int:
    """Write the plan of a source: `SOURCE DIRECTORY HOME HOST PORT`."""
    source, directory, home, host, port = arguments
    plan = plan_of(load_source(source), home, host=host, port=int(port))
    written(plan, Path(directory) / "plan.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
