"""Transactions, and what becomes of them when the disk, the file or another process stands in the way."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from penstock.errors import Conflict, InvalidInput, PenstockError, StorageFull, Unavailable
from penstock.store import events, pipelines, runs, session
from penstock.store.paging import Window
from penstock.store.runs import RunFilter
from penstock.store.session import Database
from tests.unit.store.samples import AT, a_run, frozen

FULL = """
import resource, sys
from penstock.errors import StorageFull
from penstock.store import runs
from penstock.store.paging import Window
from penstock.store.session import Database
from tests.unit.store.samples import a_run, frozen

db = Database(sys.argv[1])
db.migrate()
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
kept = []
try:
    while len(kept) < 10_000:
        with db.write() as ws:
            run = a_run(frozen(ws), parameters={"fill": "x" * 5000})
            runs.insert(ws, run)
        kept.append(run.id)
except StorageFull as error:
    print(error.status, sys.argv[1].removeprefix("sqlite:///") in str(error))
with db.read() as rs:
    assert all(runs.get(rs, one) for one in kept)
    assert runs.page(rs, Window(), runs.RunFilter()).total == len(kept) > 10
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with db.write() as ws:
    runs.insert(ws, a_run(frozen(ws)))
print("written again")
db.close()
"""

# Eight threads whose transactions are committed together: when the disk is full, each of them knows what was kept.
FULL_TOGETHER = """
import resource, sys, threading
from penstock.errors import StorageFull
from penstock.store import runs
from penstock.store.paging import Window
from penstock.store.session import Database
from tests.unit.store.samples import a_run, frozen

db = Database(sys.argv[1])
db.migrate()
resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, resource.RLIM_INFINITY))
kept, refused = [], []

def fill():
    try:
        while len(kept) < 10_000:
            with db.write() as ws:
                run = a_run(frozen(ws), parameters={"fill": "x" * 5000})
                runs.insert(ws, run)
            kept.append(run.id)
    except StorageFull as error:
        refused.append(error.status)

threads = [threading.Thread(target=fill) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join(50)
with db.read() as rs:
    assert all(runs.get(rs, one) for one in kept)
    assert runs.page(rs, Window(), runs.RunFilter()).total == len(kept) > 10
print(refused)
db.close()
"""

# Root may write anywhere: only another user can be kept out.
READ_ONLY = """
import os, sys
import sqlalchemy.dialects.sqlite
from penstock.errors import Unavailable
from penstock.store.session import Database

if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for url in sys.argv[1:]:
    path = url.removeprefix("sqlite:///")
    db = Database(url)
    for use in (db.migrate, db.read().__enter__, db.write().__enter__):
        try:
            with use() or db.read() as rs:
                rs.row(sqlalchemy.text("SELECT 1 FROM runs"))
        except Unavailable as error:
            print(path in str(error) and "may write" in str(error))
    db.close()
"""


def python(script: str, *arguments: str) -> str:
    """What the script prints in a process of its own, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def count(db: Database) -> int:
    with db.read() as rs:
        return pipelines.page(rs, Window()).total


class TestWriting:
    def test_what_raises_leaves_nothing(self, db: Database) -> None:
        with pytest.raises(KeyError), db.write() as ws:
            raise KeyError(pipelines.get_or_create(ws, "a", AT).id)
        assert count(db) == 0

    def test_a_failed_statement_spoils_all_even_if_it_is_passed_over(self, db: Database) -> None:
        with db.write() as ws:
            runs.insert(ws, a_run(frozen(ws), name="r"))

        def pass_over() -> None:
            with db.write() as ws:
                pipelines.get_or_create(ws, "other", AT)
                with pytest.raises(Conflict):
                    runs.insert(ws, a_run(frozen(ws), name="r"))

        with pytest.raises(PenstockError, match="nothing was stored"):
            pass_over()
        assert count(db) == 1

    def test_a_row_that_refers_to_nothing_is_refused(self, db: Database) -> None:
        with db.write() as ws:
            run = a_run(frozen(ws), snapshot_id="missing")
        with pytest.raises(PenstockError, match="refused a statement"), db.write() as ws:
            runs.insert(ws, run)

    @pytest.mark.parametrize("name", ["\ud800", "a\udfffb"])
    def test_a_text_that_is_not_unicode_is_refused(self, db: Database, name: str) -> None:
        with db.read() as rs, pytest.raises(InvalidInput, match="not Unicode"):
            pipelines.get(rs, name)
        with pytest.raises(InvalidInput, match="not Unicode"), db.write() as ws:
            runs.insert(ws, a_run(frozen(ws), parameters={"text": name}))
        assert count(db) == 0

    def test_a_number_that_is_too_large_is_refused(self, db: Database) -> None:
        with db.read() as rs, pytest.raises(InvalidInput, match="too large"):
            events.after(rs, "run", 2**63)

    def test_one_write_in_another_is_a_mistake_and_not_a_deadlock(self, db: Database) -> None:
        with db.write() as ws:
            with pytest.raises(RuntimeError, match="inside a write session"), db.write():
                pass
            pipelines.get_or_create(ws, "a", AT)
        assert count(db) == 1

    def test_a_session_ends_with_its_block(self, db: Database) -> None:
        with db.write() as ws:
            pass
        with pytest.raises(Exception, match="closed"):
            pipelines.get_or_create(ws, "a", AT)

    def test_readers_see_the_last_commit_and_wait_for_nobody(self, db: Database) -> None:
        with db.write() as ws:
            pipelines.get_or_create(ws, "a", AT)
            assert count(db) == 0
        with db.read() as rs:
            assert pipelines.page(rs, Window()).total == 1
            with db.write() as ws:
                pipelines.get_or_create(ws, "b", AT)
            assert pipelines.page(rs, Window()).total == 1  # the same moment still
        assert count(db) == 2


class TestAfterCommit:
    def test_it_is_called_once_everything_is_stored(self, db: Database) -> None:
        seen = []
        with db.write() as ws:
            ws.after_commit(lambda: seen.append(count(db)))
            ws.after_commit(lambda: seen.append("second"))
            pipelines.get_or_create(ws, "a", AT)
            assert seen == []
        assert seen == [1, "second"]

    def test_it_may_write(self, db: Database) -> None:
        def again() -> None:
            with db.write() as ws:
                pipelines.get_or_create(ws, "b", AT)

        with db.write() as ws:
            ws.after_commit(again)
        assert count(db) == 1

    def test_it_is_not_called_if_nothing_is_stored(self, db: Database) -> None:
        seen: list[str] = []
        with pytest.raises(KeyError), db.write() as ws:
            raise KeyError(ws.after_commit(lambda: seen.append("never")))
        assert seen == []

    def test_what_it_raises_is_logged_and_stops_no_other(self, db: Database, caplog: pytest.LogCaptureFixture) -> None:
        seen = []
        with caplog.at_level(logging.ERROR), db.write() as ws:
            ws.after_commit([].pop)
            ws.after_commit(lambda: seen.append("second"))
        assert seen == ["second"]
        assert "callback after a commit failed" in caplog.text


class TestSqlite:
    def test_its_settings(self, db: Database) -> None:
        wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000, "temp_store": 2}
        with db.read() as rs:
            assert {name: rs.value(text(f"PRAGMA {name}")) for name in wanted} == wanted

    def test_a_new_database_is_for_its_owner_only(self, db: Database, path: Path) -> None:
        count(db)
        assert {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()} == {
            "penstock.db": 0o600,
            "penstock.db-wal": 0o600,
            "penstock.db-shm": 0o600,
        }

    def test_another_process_that_writes_on_and_on_is_not_waited_for_without_end(
        self, db: Database, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(session, "PATIENCE", 0.05)
        impatient = Database(f"sqlite:///{path}")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="busy") as refused, impatient.write():
                pass
            assert refused.value.headers == {"Retry-After": "1"}
            assert count(impatient) == 0
            other.execute("ROLLBACK")
        with impatient.write() as ws:
            pipelines.get_or_create(ws, "a", AT)
        impatient.close()

    def test_a_thread_that_writes_on_and_on_is_not_waited_for_without_end(
        self, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(session, "PATIENCE", 0.05)
        refused: list[Exception] = []

        def write() -> None:
            try:
                with db.write():
                    pass
            except Unavailable as error:
                refused.append(error)

        with db.write():
            thread = threading.Thread(target=write)
            thread.start()
            thread.join(10)
        assert len(refused) == 1
        write()
        assert len(refused) == 1

    def test_more_readers_than_connections_wait_and_are_told(
        self, db: Database, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(session, "PATIENCE", 0.05)
        small = Database(f"sqlite:///{path}", connections=1)
        with small.read(), pytest.raises(Unavailable, match="Every connection"), small.read():
            pass
        assert count(small) == 0
        small.close()

    def test_a_file_that_is_no_database_is_left_as_it_is(self, path: Path) -> None:
        path.write_text("These are my notes. " * 100)
        db = Database(f"sqlite:///{path}")
        with pytest.raises(Unavailable, match="is no database"):
            db.migrate()
        assert path.read_text() == "These are my notes. " * 100

    def test_a_directory_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        db = Database(f"sqlite:///{tmp_path / 'missing' / 'p.db'}")
        with pytest.raises(Unavailable, match=r"missing/p\.db .* directory exist"):
            db.migrate()
        with pytest.raises(Unavailable, match=r"missing/p\.db"), db.read():
            pass

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "nothing", "oracle://x", "fancy+sqlite:///x"])
    def test_a_url_that_cannot_be_used_is_refused(self, url: str) -> None:
        with pytest.raises(PenstockError, match=r"sqlite:////path/to/file\.db"):
            Database(url)


class TestDisk:
    def test_a_file_size_limit_is_a_full_disk_that_passes(self, path: Path) -> None:
        assert python(FULL, f"sqlite:///{path}") == "507 True\nwritten again\n"

    def test_a_full_disk_is_told_to_each_that_was_to_be_committed_together(self, path: Path) -> None:
        assert python(FULL_TOGETHER, f"sqlite:///{path}") == f"{[507] * 8}\n"

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        mount, umount = shutil.which("mount"), shutil.which("umount")
        disk = tmp_path / "disk"
        disk.mkdir()
        made = (
            mount
            and umount
            and subprocess.run(
                [mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False
            )
        )
        if not made or made.returncode != 0:
            pytest.skip("mounting a small disk needs root")
        yield disk
        subprocess.run([umount, str(disk)], check=True)

    def test_a_full_disk_loses_nothing_and_passes(self, small_disk: Path) -> None:
        db = Database(f"sqlite:///{small_disk / 'p.db'}")
        db.migrate()
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * 1_000_000)
        kept = 0

        def fill() -> None:
            nonlocal kept
            while kept < 10_000:
                with db.write() as ws:
                    runs.insert(ws, a_run(frozen(ws), parameters={"fill": "x" * 5000}))
                kept += 1

        with pytest.raises(StorageFull):
            fill()
        with db.read() as rs:
            assert runs.page(rs, Window(), RunFilter()).total == kept > 10
        filler.unlink()
        with db.write() as ws:
            runs.insert(ws, a_run(frozen(ws)))
            assert ws.value(text("PRAGMA integrity_check")) == "ok"
        db.close()

    def test_a_directory_that_may_not_be_written_is_named(self, db: Database) -> None:
        # Not below pytest's own directory, which other users cannot enter.
        directory = Path(tempfile.mkdtemp())
        try:
            shutil.copy(db.where, directory / "old.db")
            (directory / "old.db").chmod(0o444)
            directory.chmod(0o555)
            urls = [f"sqlite:///{directory / name}" for name in ("old.db", "new.db")]
            assert set(python(READ_ONLY, *urls).split()) == {"True"}
        finally:
            directory.chmod(0o700)
            shutil.rmtree(directory)
