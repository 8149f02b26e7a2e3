from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from penstock.errors import PenstockError
from penstock.model.configuration import PipelineRunConfiguration
from penstock.store import artifacts, runs, schema
from penstock.store.parts import metadata
from penstock.store.session import Database
from tests.unit.store.samples import frozen

START = """
import sys
from penstock.store.session import Database
db = Database(sys.argv[1])
db.migrate()
with db.read():
    pass
db.close()
print("alembic" in sys.modules)
"""


def contents(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_head_is_the_last_script() -> None:
    assert ScriptDirectory(str(schema.MIGRATIONS)).get_heads() == [schema.HEAD]


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """A database that came to its schema script by script."""
    path = tmp_path / "migrated.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        schema.migrate(connection, "here")
    engine.dispose()
    return path


def test_migrations_make_what_the_tables_say(migrated: Path) -> None:
    engine = create_engine(f"sqlite:///{migrated}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_new_database_and_a_migrated_one_have_the_same_indexes_and_version(
    db: Database, path: Path, migrated: Path
) -> None:
    def indexes(database: Path) -> set[str]:
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
            return {sql for (sql,) in rows}

    assert indexes(path) == indexes(migrated)
    for database in (path, migrated):
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema.HEAD,)]


OLD = """
INSERT INTO pipelines VALUES ('p', 'train', NULL, NULL, 1);
INSERT INTO snapshots VALUES ('s', 's', 'p', '{"pipeline": "train", "source": "m:t", "environment": {"python": "3"}}', 1);
INSERT INTO runs (id, name, state, pipeline_id, pipeline_name, snapshot_id, parameters, step_parameters, origins, cause, tags,
    fence, sequence, created) VALUES ('r', 'run', 'completed', 'p', 'train', 's', '{}', '{}', '{}', '{}', '[]', 1, 1, 1);
INSERT INTO artifacts VALUES ('a', 'd', '[]', 0, 'int', 'structured', 0, '{}', 'r', 'load', 'output', 1);
INSERT INTO step_runs (id, run_id, step, name, state, upstream, parameters, inputs, outputs, metadata, created)
    VALUES ('f', 'r', 'fit', 'fit', 'completed', '[]', '{}', '{"data": "a", "lost": "b"}', '{}', '{}', 1);
"""


def test_what_the_first_schema_holds_comes_along(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        schema.migrate(connection, "here", to="0001")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD)
    engine.dispose()
    db = Database(f"sqlite:///{path}")
    db.migrate()
    with db.read() as rs:
        run = runs.get(rs, "run")
        assert (run.configuration, run.metadata) == (PipelineRunConfiguration(), {})
        assert runs.steps(rs, "r")["fit"].attempt == 1
        uses = [(use.step, use.kind, use.name) for use in artifacts.uses_of(rs, "a", 10)]
    assert sorted(uses) == [("fit", "input", "data"), ("load", "output", "output")]
    db.close()


def test_alembic_is_loaded_only_to_migrate(path: Path) -> None:
    for expected in ("False", "False"):
        done = subprocess.run(
            [sys.executable, "-c", START, f"sqlite:///{path}"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout.strip(), done.stderr) == (expected, "")


def test_a_newer_database_is_refused_and_left_as_it_is(db: Database, path: Path) -> None:
    with db.write() as ws:
        ws.change(text("UPDATE alembic_version SET version_num = '9999'"))
    before = contents(path)
    with pytest.raises(PenstockError, match=r"schema 9999.*newer Penstock.*Nothing was changed"):
        Database(f"sqlite:///{path}").migrate()
    assert contents(path) == before


def test_a_migration_that_is_interrupted_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = schema.upgrade

    def interrupted(connection: Connection, where: str) -> None:
        upgrade(connection, where)
        raise KeyboardInterrupt

    monkeypatch.setattr(schema, "upgrade", interrupted)
    db = Database(f"sqlite:///{path}")
    with pytest.raises(KeyboardInterrupt):
        db.migrate()
    assert contents(path) == ["BEGIN TRANSACTION;", "COMMIT;"]
    monkeypatch.undo()
    db.migrate()
    with db.write() as ws:
        frozen(ws)
    db.close()


def test_a_migration_may_rebuild_a_table_that_others_refer_to(
    db: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.write() as ws:
        frozen(ws)
        ws.change(text("UPDATE alembic_version SET version_num = '0000'"))

    def rebuild(connection: Connection, where: str) -> None:
        connection.exec_driver_sql("CREATE TABLE rebuilt AS SELECT * FROM pipelines")
        connection.exec_driver_sql("DROP TABLE pipelines")
        connection.exec_driver_sql("ALTER TABLE rebuilt RENAME TO pipelines")
        connection.exec_driver_sql("CREATE UNIQUE INDEX again ON pipelines (id)")

    monkeypatch.setattr(schema, "upgrade", rebuild)
    db.migrate()
    with db.read() as rs:
        assert rs.value(text("SELECT count(*) FROM snapshots JOIN pipelines ON pipelines.id = pipeline_id")) == 1


def test_a_migration_that_would_break_a_reference_is_undone(
    db: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.write() as ws:
        frozen(ws)
        ws.change(text("UPDATE alembic_version SET version_num = '0000'"))
    before = contents(path)
    monkeypatch.setattr(
        schema, "upgrade", lambda connection, where: connection.exec_driver_sql("DELETE FROM pipelines")
    )
    with pytest.raises(PenstockError, match="rows of 'snapshots' without what they refer to"):
        db.migrate()
    assert contents(path) == before
    with pytest.raises(PenstockError), db.write() as ws:  # the connection of a migration is not used again
        ws.change(text("DELETE FROM pipelines"))


def test_a_rehearsal_shows_the_new_schema_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        schema.migrate(connection, "here", to="0004")
    engine.dispose()
    database = Database(f"sqlite:///{path}")
    with database.rehearse() as (session, stamp):
        assert stamp == "0004"
        assert session.value(text("SELECT version_num FROM alembic_version")) == schema.HEAD
        assert session.rows(text("SELECT alias FROM template_aliases")) == []
    database.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0004",)
    database.migrate()
    with database.rehearse() as (_, stamp):
        assert stamp == schema.HEAD
    database.close()
