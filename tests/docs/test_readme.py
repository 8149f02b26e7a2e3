"""The README as a new user meets it: its commands are run against a real server, and answer as it shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.ports import new_port

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SHOWN_URL, SHOWN_DATA = "http://127.0.0.1:8237", "/data/wine.csv"


@dataclass(frozen=True)
class Shown:
    """A command of the README, and what it shows below."""

    command: str
    output: str


def shown() -> list[Shown]:
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        for command, output in re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:[^$].*\n)*)", block, re.MULTILINE):
            found.append(Shown(command, output))
    return found


def the(word: str) -> Shown:
    """The first command that begins with `word` and has an output."""
    return next(one for one in shown() if one.command.startswith(word) and one.output)


@dataclass(frozen=True)
class Desk:
    """A directory with `train.py`, a server, and a key."""

    directory: Path
    url: str
    key: str

    def run(self, command: str) -> str:
        command = command.replace(SHOWN_URL, self.url).replace(SHOWN_DATA, str(self.directory / "wine.csv"))
        script = ["bash", "-c", command.replace("curl ", "curl -sS ", 1)]
        environment = {**os.environ, "KEY": self.key, "no_proxy": "127.0.0.1"}
        done = subprocess.run(script, env=environment, cwd=self.directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def desk(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    [program] = re.findall(r"^<!-- file: train.py -->\n```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "train.py").write_text(program)
    shutil.copy(ROOT / "examples/training/data/wine.csv", tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    port = new_port()
    monkeypatch.setenv("PENSTOCK_PORT", str(port))
    with subprocess.Popen(["penstock", "up"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(url, server)
            yield Desk(tmp_path, url, "")
        finally:
            server.terminate()


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"{url}/health"):
                return
        except OSError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server never answered"
            time.sleep(0.05)  # poll: until the port is open


def labels(table: str) -> list[str]:
    """The first column of a table of two."""
    return re.findall(r"^([A-Z][\w ]*?)  +\S", table, re.MULTILINE)


def same_shape(shown: Any, real: Any) -> bool:
    """Whether everything that is shown is really there; texts and numbers may differ."""
    if isinstance(shown, dict):
        return isinstance(real, dict) and all(
            key in real and same_shape(value, real[key]) for key, value in shown.items()
        )
    if isinstance(shown, list):
        return isinstance(real, list) and len(shown) == len(real) and all(map(same_shape, shown, real))
    return type(shown) is type(real)


def test_the_first_screen_works_as_shown(desk: Desk) -> None:
    freeze = the("penstock pipeline create-run-template")
    assert labels(desk.run(freeze.command)) == labels(freeze.output) != []
    account = the("penstock service-account create")
    told = desk.run(account.command)
    assert labels(told) == labels(account.output) != []
    [key] = re.findall(r"psk_\w+", told)
    desk = Desk(desk.directory, desk.url, key)

    trigger, wrong = [one for one in shown() if one.command.startswith("curl") and one.output]
    run = json.loads(desk.run(trigger.command))
    assert same_shape(json.loads(trigger.output), run)
    assert run["state"] == "completed"
    assert run["outputs"]["output"]["accuracy"] > 0.9

    refused, expected = json.loads(desk.run(wrong.command)), json.loads(wrong.output)
    assert {name: refused[name] for name in expected} == expected


def test_the_program_has_fifteen_lines() -> None:
    [program] = re.findall(r"^<!-- file: train.py -->\n```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 15
