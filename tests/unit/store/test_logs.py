from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.model.run import LogLine
from penstock.store import logs, runs
from penstock.store.session import Database
from tests.unit.store.samples import a_line, a_run, frozen

STEPS = st.sampled_from([None, "a", "b", "c"])
BATCHES = st.lists(st.lists(STEPS, max_size=12), max_size=6)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Database:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('logs') / 'p.db'}")
    database.migrate()
    return database


def written(db: Database, batches: list[list[str | None]]) -> tuple[str, list[LogLine]]:
    lines: list[LogLine] = []
    with db.write() as ws:
        run = a_run(frozen(ws))
        runs.insert(ws, run)
        for batch in batches:
            new = [a_line(str(len(lines) + number), step) for number, step in enumerate(batch, 1)]
            lines += new
            assert logs.append(ws, run.id, new) == len(lines)
    return run.id, lines


@settings(max_examples=60)
@given(batches=BATCHES, cursor=st.integers(0, 80), limit=st.integers(1, 40), step=STEPS)
def test_reading_gives_what_a_list_would(
    db: Database, batches: list[list[str | None]], cursor: int, limit: int, step: str | None
) -> None:
    run_id, lines = written(db, batches)
    wanted = [line for line in lines[cursor:] if step in (None, line.step)][:limit]
    with db.read() as rs:
        found, after = logs.after(rs, run_id, cursor, step=step, limit=limit)
    assert found == wanted
    assert after == (int(wanted[-1].text) if wanted else cursor)


@pytest.mark.parametrize("step", [None, "a", "b"])
def test_following_meets_each_line_once(db: Database, step: str | None) -> None:
    batches = [["a", "b", None] * 30, ["b"], ["a"] * 1300, ["a", "b"] * 700, ["b", "a"]]
    run_id, lines = written(db, batches)
    wanted = [line for line in lines if step in (None, line.step)]
    met, cursor = [], 0
    while True:
        with db.read() as rs:
            found, cursor = logs.after(rs, run_id, cursor, step=step, limit=171)
        if not found:
            break
        met += found
    assert met == wanted


def test_a_batch_is_one_row_for_each_step(db: Database) -> None:
    run_id, _ = written(db, [["a", "b", None, "a", "b"], ["a"]])
    with db.read() as rs:
        rows = rs.rows(logs.select(logs.log_chunks).where(logs.log_chunks.c.run_id == run_id))
    assert sorted((row.first, row.last, row.step or "") for row in rows) == [
        (1, 4, "a"),
        (2, 5, "b"),
        (3, 3, ""),
        (6, 6, "a"),
    ]


def test_no_reading_is_larger_than_its_limit(db: Database, tmp_path: Path) -> None:
    run_id, _ = written(db, [["a"] * (logs.LARGEST + 5)])
    with db.read() as rs:
        assert len(logs.after(rs, run_id, limit=10**9)[0]) == logs.LARGEST
        assert len(logs.after(rs, run_id, step="a", limit=10**9)[0]) == logs.LARGEST
