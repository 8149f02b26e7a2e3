"""Backups: one moment of a database that others write, whole or not there, and never in place of anything."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from penstock.errors import Conflict, PenstockError, StorageFull, Unavailable
from penstock.store import backups, pipelines, schema
from penstock.store.backups import back_up
from penstock.store.session import Database
from tests import postgres
from tests.unit.store.samples import AT

WRITE = """
import sys
from penstock.store import pipelines
from penstock.store.session import Database
from tests.unit.store.samples import AT
db = Database(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    with db.write() as session:
        for name in (f"a{number}", f"b{number}"):  # both, or neither
            pipelines.get_or_create(session, name, AT)
    number += 1
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'penstock.db'}"
    db = Database(url)
    db.migrate()
    with db.write() as session:
        pipelines.get_or_create(session, "train", AT)
    db.close()
    return url


def pipelines_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM pipelines")}


def nothing_but(directory: Path, *names: str) -> bool:
    return {path.name for path in directory.iterdir()} == set(names)


def test_it_is_one_file_for_its_owner_with_everything(url: str, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    target = tmp_path / "kept" / "today.db"
    assert back_up(url, target) == schema.HEAD
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert nothing_but(target.parent, "today.db")
    assert pipelines_in(target) == {"train"}
    restored = Database(f"sqlite:///{target}")
    assert restored.is_current()
    restored.close()


def test_while_others_write_it_is_one_moment_and_holds_up_nobody(url: str, tmp_path: Path, start: Any) -> None:
    writer = start(WRITE, url)
    assert writer.stdout.readline() == "ready\n"
    seen = []
    for number in range(5):
        target = tmp_path / f"{number}.db"
        back_up(url, target)
        found = pipelines_in(target)
        assert {name[1:] for name in found if name[0] == "a"} == {name[1:] for name in found if name[0] == "b"}
        seen.append(len(found))
    assert writer.poll() is None
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_it_never_takes_the_place_of_anything(url: str, tmp_path: Path) -> None:
    target = tmp_path / "there.db"
    target.write_text("mine")
    with pytest.raises(Conflict, match="is there already"):
        back_up(url, target)
    assert target.read_text() == "mine"
    assert nothing_but(tmp_path, "penstock.db", "there.db")


def test_two_at_once_make_one(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, outcomes = threading.Barrier(2), []
    copy = backups._copy

    def waiting(source: Path, draft: Path) -> None:
        copy(source, draft)
        together.wait(30)

    def attempt() -> None:
        try:
            outcomes.append(back_up(url, tmp_path / "one.db"))
        except Conflict as error:
            outcomes.append(error.detail)

    monkeypatch.setattr(backups, "_copy", waiting)
    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == sorted([schema.HEAD, f"{tmp_path / 'one.db'} was made by somebody else meanwhile."])
    assert nothing_but(tmp_path, "penstock.db", "one.db")


def test_a_folder_that_is_not_there_and_an_empty_database(url: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="could not be written"):
        back_up(url, tmp_path / "nowhere" / "a.db")
    with pytest.raises(Conflict, match="is empty"):
        back_up(f"sqlite:///{tmp_path / 'new.db'}", tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()


def test_a_full_disk_leaves_nothing(url: str, tmp_path: Path, start: Any) -> None:
    (tmp_path / "full").mkdir()
    process = start(
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from penstock.errors import StorageFull\n"
        "from penstock.store.backups import back_up\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try:\n"
        "    back_up(sys.argv[1], Path(sys.argv[2]))\n"
        "except StorageFull as error:\n"
        "    print(error.detail)\n",
        url,
        str(tmp_path / "full" / "a.db"),
    )
    said, errors = process.communicate()
    assert "full" in said, errors
    assert nothing_but(tmp_path / "full")
    assert StorageFull.status == 507


def test_a_source_that_is_damaged_gives_no_backup(url: str, tmp_path: Path) -> None:
    path = tmp_path / "penstock.db"
    data = bytearray(path.read_bytes())
    for page in range(2 * 4096, len(data), 4096):
        data[page : page + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(PenstockError):
        back_up(url, tmp_path / "a.db")
    assert nothing_but(tmp_path, "penstock.db")


@pytest.fixture(params=postgres.installed())
def served(request: pytest.FixtureRequest, clusters: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of PostgreSQL with a pipeline, and its client programs on the path."""
    url: str = clusters(request.param).database()
    db = Database(url)
    db.migrate()
    with db.write() as session:
        pipelines.get_or_create(session, "train", AT)
    db.close()
    monkeypatch.setenv("PATH", f"{postgres.installed()[request.param]}:{os.environ['PATH']}")
    yield url
    db.close()


def test_a_server_is_dumped_and_restored(served: str, tmp_path: Path, clusters: Any) -> None:
    target = tmp_path / "today.dump"
    assert back_up(served, target) == schema.HEAD
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert nothing_but(tmp_path, "today.dump")
    version = next(one for one in postgres.installed() if str(postgres.installed()[one]) in os.environ["PATH"])
    empty = clusters(version).database()
    address = make_url(empty).set(drivername="postgresql").render_as_string()
    subprocess.run(["pg_restore", "--no-owner", "--exit-on-error", f"--dbname={address}", target], check=True)
    restored = Database(empty)
    assert restored.is_current()
    with restored.read() as session:
        assert pipelines.get(session, "train").name == "train"
    restored.close()


def test_no_password_is_among_the_arguments(served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = subprocess.run, []

    def run(command: list[str], **options: Any) -> Any:
        seen.append((command, options["env"].get("PGPASSWORD")))
        return real(command, **options)

    monkeypatch.setattr(subprocess, "run", run)
    back_up(make_url(served).set(password="s3cret").render_as_string(hide_password=False), tmp_path / "a.dump")
    assert "s3cret" not in str([command for command, _ in seen])
    assert seen[0][1] == "s3cret"


def test_without_the_programs_it_says_what_to_do(served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PenstockError, match=r"not on the PATH here\. Install the client"):
        back_up(served, tmp_path / "a.dump")
    assert nothing_but(tmp_path)
    broken = tmp_path / "pg_dump"
    broken.write_text("#!/bin/sh\necho no room on device >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:{Path(shutil.which('sh') or '').parent}")
    with pytest.raises(PenstockError, match="no room on device"):
        back_up(served, tmp_path / "a.dump")
    assert not (tmp_path / "a.dump").exists()
