"""A service in the foreground for one test: a project on the disk, `penstock serve`, and a client of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.acceptance.site_under_test import PATIENCE, eventually


@dataclass
class Service:
    """A process that serves `project`. What it prints is in `said`."""

    project: Path
    process: subprocess.Popen[bytes]
    client: httpx.Client = field(default_factory=httpx.Client)

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        return (self.project / "said").read_text()

    def stop(self) -> int:
        """Have it leave in good order; its exit status."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def begun(project: Path, files: Mapping[str, str], source: str, *arguments: str, ready: str = "/ready") -> Service:
    """The service of `source`, which lies in these files, as soon as it takes requests at `ready`."""
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    with (project / "said").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "serve", source, "--port", "0", *arguments],
            cwd=project,
            env={**os.environ, "PENSTOCK_HOME": str(project / ".home")},
            stdout=output,
            stderr=output,
        )
    service = Service(project, process)
    try:
        _wait_for(service, ready)
    except BaseException:
        process.kill()
        process.wait()
        service.client.close()
        raise
    return service


def _wait_for(service: Service, ready: str) -> None:
    process = service.process

    def address() -> str | None:
        assert process.poll() is None, service.said
        return next((word for word in service.said.split() if word.startswith("http://")), None)

    url = eventually(address, what="the address")
    service.client.close()
    service.client = client = httpx.Client(base_url=url or "", timeout=PATIENCE)

    def is_ready() -> bool:
        assert process.poll() is None, service.said
        try:
            return client.get(ready, timeout=1).status_code == 200
        except httpx.HTTPError:
            return False

    eventually(is_ready, what="readiness")
