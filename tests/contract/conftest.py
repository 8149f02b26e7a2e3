"""What contract tests run over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.store.session import Database
from tests import postgres

Start = Callable[..., "subprocess.Popen[str]"]

# Every kind of database that Penstock supports; of PostgreSQL the oldest and the newest at hand.
DATABASES = ["sqlite", *(f"postgresql-{version}" for version in postgres.installed())]


@pytest.fixture(scope="session")
def clusters() -> Iterator[Callable[[str], postgres.Cluster]]:
    """The PostgreSQL server of a version: one a session, started when it is first asked for."""
    started: dict[str, postgres.Cluster] = {}

    def cluster(version: str) -> postgres.Cluster:
        if version not in started:
            started[version] = postgres.Cluster(postgres.installed()[version])
        return started[version]

    yield cluster
    for each in started.values():
        each.remove()


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path, clusters: Callable[[str], postgres.Cluster]) -> str:
    """The URL of an empty database: no schema yet, but for tests that ask for `db` as well."""
    kind, _, version = request.param.partition("-")
    if kind == "postgresql":
        return clusters(version).database(schema="db" in request.fixturenames)
    return f"sqlite:///{tmp_path / 'penstock.db'}"


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
