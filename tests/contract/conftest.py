"""What contract tests run over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.store.session import Database

Start = Callable[..., "subprocess.Popen[str]"]

# How to get an empty database of each kind that Penstock supports, in a directory of its own.
DATABASES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda directory: f"sqlite:///{directory / 'penstock.db'}",
}


@pytest.fixture(params=list(DATABASES))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: no schema yet."""
    return DATABASES[request.param](tmp_path)


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    """A database with its schema."""
    database = Database(url)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python process that runs a script with arguments; those still there in the end are killed."""
    started = []

    def start_python(script: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_python
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
