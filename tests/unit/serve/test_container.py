"""The first process of a container, without a container: where it reads, where it writes, what signals do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from penstock.author.archive import pack, unpack
from penstock.author.freeze import freeze
from penstock.author.source import load_source
from penstock.ids import new_id
from penstock.model.deployment import Plan
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.snapshot import Snapshot, snapshot_id
from penstock.model.stack import Component
from penstock.serve import container, gate
from penstock.serve.keeper import listening
from tests.launching import SOURCES, eventually
from tests.ports import new_port

CODE = """
from penstock import pipeline, step

@step
def double(number: int) -> int:
    print(f"doubling {number}")
    return 2 * number

@pipeline
def doubled(number: int) -> int:
    return double(number)
"""


class Contained:
    """A plan, the directories that a container would have, and its first process."""

    def __init__(self, tmp_path: Path) -> None:
        project = tmp_path / "project"
        project.mkdir()
        name = f"doubling_{new_id()[-6:]}"
        (project / f"{name}.py").write_text(CODE)
        content = freeze(load_source(f"{name}:doubled", project)).content
        archive = pack(project)
        self.home, self.state, self.code = tmp_path / "home", tmp_path / "state", tmp_path / "code"
        unpack(archive.tar(), self.code / archive.digest, archive.digest)
        content = replace(content, code=archive.digest)
        snapshot = Snapshot(id=snapshot_id(content), pipeline_id=new_id(), content=content, created=datetime.now(UTC))
        settings = DeploymentSettings(uvicorn_workers=2)
        self.plan = Plan(
            deployment_id=new_id(),
            deployment_name="d",
            snapshot=snapshot,
            home=str(self.home),
            settings=settings,
            server="http://127.0.0.1:9",  # nobody is there: records wait on the disk
        )
        self.mounted = tmp_path / "mounted"
        self.mounted.mkdir()
        self.put(self.plan)
        self.port = new_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.out = tmp_path / "out"
        self.process: subprocess.Popen[bytes] | None = None

    def put(self, plan: Plan) -> None:
        self.mounted.chmod(0o755)
        (self.mounted / "plan.json").write_bytes(msgspec.json.encode(plan))
        self.mounted.chmod(0o555)

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        options = {
            "--plan": self.mounted / "plan.json",
            "--home": self.home,
            "--state": self.state,
            "--code": self.code,
        }
        said = [str(part) for pair in options.items() for part in pair]
        with self.out.open("ab") as out:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "penstock.serve.container",
                    *said,
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(self.port),
                    *more,
                ],
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": str(SOURCES)},
            )
        return self.process

    def told(self) -> dict[str, Any]:
        path = self.home / "keeper" / "state.json"
        found: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
        return found

    def running(self, revision: int = 1) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            assert self.process is None or self.process.poll() is None, self.out.read_text()
            told = self.told()
            return told if (told.get("state"), told.get("revision")) == ("running", revision) else None

        found = eventually(look, patience=60)
        assert found is not None
        return found


@pytest.fixture
def contained(tmp_path: Path, home: Path) -> Iterator[Contained]:
    made = Contained(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        for child in psutil.Process(made.process.pid).children(recursive=True):
            child.kill()
        made.process.kill()
        made.process.wait()
    made.mounted.chmod(0o755)


def test_it_serves_a_plan_that_it_only_reads_and_keeps_its_state_somewhere_else(contained: Contained) -> None:
    process = contained.start()
    told = contained.running()
    assert len(told["workers"]) == 2
    answer = httpx.post(f"{contained.url}/invoke", json={"parameters": {"number": 4}})
    assert (answer.status_code, answer.json()["outputs"]) == (200, {"output": 8})
    submitted = httpx.post(f"{contained.url}/submit", json={"parameters": {"number": 5}})
    assert submitted.status_code == 202
    eventually(lambda: any((contained.state / "spool").iterdir()))
    assert [one.name for one in contained.mounted.iterdir()] == ["plan.json"]
    assert (contained.state / "submissions.db").exists() or list(contained.state.glob("submi*"))
    assert "doubling 4" in contained.out.read_text()
    contained.put(replace(contained.plan, revision=2))
    process.send_signal(signal.SIGHUP)
    second = contained.running(2)
    assert set(second["workers"]).isdisjoint(told["workers"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert contained.told()["state"] == "absent"


def test_at_a_gate_it_makes_room_for_a_later_one_and_comes_back_to_another_gate(
    contained: Contained, home: Path
) -> None:
    contained.put(replace(contained.plan, settings=DeploymentSettings()))
    path = home / "gate"
    command = [sys.executable, gate.__file__, str(path), "127.0.0.1", str(contained.port)]
    process = contained.start("--gate", str(path), "--generation", "1")
    holder = subprocess.Popen(command)  # it comes later: whoever serves waits for it
    later: gate.Way | None = None
    try:
        contained.running()
        assert httpx.post(f"{contained.url}/invoke", json={"parameters": {"number": 4}}).status_code == 200
        holder.kill()
        holder.wait()
        port = new_port()  # in a container it is the same one: the network goes with its gate
        holder = subprocess.Popen([*command[:-1], str(port)])
        eventually(lambda: _listens(port))
        # Nobody serves there yet: this caller waits.
        answer = httpx.post(f"http://127.0.0.1:{port}/invoke", json={"parameters": {"number": 4}}, timeout=60)
        assert answer.status_code == 200
        eventually(lambda: (contained.told()["state"], contained.told()["port"]) == ("running", port), patience=60)
        later = gate.Way(path, 2)
        later.say_ready()
        eventually(lambda: contained.told()["state"] == "left", patience=60)
        assert process.poll() is None
        eventually(lambda: not psutil.Process(process.pid).children(), patience=60)
    finally:
        holder.kill()
        holder.wait()
        if later is not None:
            later.close()
            later.port.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def test_with_give_up_one_that_does_not_come_up_ends_and_one_that_has_died_is_begun_again(contained: Contained) -> None:
    contained.put(replace(contained.plan, secret_store=Component(flavor="nowhere")))
    process = contained.start("--give-up")
    assert process.wait(60) == 1
    assert "the service does not come up: InvalidInput: Kind 'secret_store' has no flavor" in contained.out.read_text()
    contained.put(contained.plan)
    process = contained.start("--give-up")
    first = contained.running()["workers"]
    for worker in first:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: contained.told()["restarts"] == 2 and contained.told()["state"] == "running", patience=60)
    assert set(contained.running()["workers"]).isdisjoint(first)
    assert process.poll() is None


def test_a_port_that_is_taken_is_told(contained: Contained) -> None:
    with listening("127.0.0.1", [contained.port]):
        process = contained.start()
        assert process.wait(30) == 1
    assert "the service cannot be kept up" in contained.out.read_text()


def test_the_home_is_furnished_again_and_again(tmp_path: Path) -> None:
    code = tmp_path / "code" / "abc"
    code.mkdir(parents=True)
    furnish: Callable[[Path, Path, Path], Path] = container._furnished
    for _ in range(2):
        directory = furnish(tmp_path / "home", tmp_path / "state", tmp_path / "code")
        assert (tmp_path / "home" / "cache" / "code" / "abc").resolve() == code
        assert directory.is_dir()
    code.rename(code.with_name("def"))
    furnish(tmp_path / "home", tmp_path / "state", tmp_path / "code")
    assert (tmp_path / "home" / "cache" / "code" / "def").resolve() == code.with_name("def")
