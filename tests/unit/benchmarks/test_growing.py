from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from benchmarks.copies import copy
from benchmarks.growing import SUBJECTS
from benchmarks.harness import SUBJECTS as FILES
from benchmarks.harness import Wrong


def test_a_run_is_copied_with_ids_of_its_own() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.row_factory = sqlite3.Row
        database.execute("CREATE TABLE steps (id TEXT PRIMARY KEY, run_id TEXT, name TEXT)")
        database.executemany("INSERT INTO steps VALUES (?, 'one', ?)", [("1", "load"), ("2", "fit")])
        rows = database.execute("SELECT * FROM steps").fetchall()
        copy(database, "steps", rows, ({"run_id": owner} for owner in ("two", "three")))
        found = database.execute("SELECT run_id, name FROM steps ORDER BY run_id, name").fetchall()
        ids = database.execute("SELECT count(DISTINCT id) FROM steps").fetchone()[0]
    assert [tuple(row) for row in found] == [(run, name) for run in ("one", "three", "two") for name in ("fit", "load")]
    assert ids == 6


def test_nothing_to_copy_is_told() -> None:
    with closing(sqlite3.connect(":memory:")) as database, pytest.raises(Wrong, match="nothing in steps"):
        copy(database, "steps", [], [{"run_id": "two"}])


def test_every_subject_is_there() -> None:
    assert all("def seconds(" in (FILES / f"{subject.name}.py").read_text() for subject in SUBJECTS)
