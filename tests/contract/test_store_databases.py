"""A look at a whole database finds the same on each kind of it, and what only one of them can tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from penstock.errors import Unavailable
from penstock.model.database import Flaw
from penstock.store import pipelines, schema
from penstock.store.databases import looked_at, opened
from penstock.store.session import Database
from tests.contract.conftest import DATABASES
from tests.unit.store.samples import AT, frozen

Change = Callable[..., None]


@pytest.fixture
def change(db: Database, url: str) -> Change:
    """Do something to a database with a snapshot in it, behind the back of the product."""
    with db.write() as session:
        frozen(session)
        pipelines.get_or_create(session, "other", AT)
    db.close()

    def do(*statements: str) -> None:
        with opened(url, "IMMEDIATE") as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("ROLLBACK")
                connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            for statement in statements:
                connection.execute(text(statement))

    return do


def found(url: str) -> list[Flaw]:
    with looked_at(url) as whole:
        assert whole.stamp() == schema.HEAD
        return [*whole.flaws(), *whole.unreadable()]


def told(url: str) -> list[tuple[str, str]]:
    return [(flaw.part, flaw.message) for flaw in found(url)]


def test_a_sound_one(url: str, change: Change) -> None:
    assert found(url) == []
    with looked_at(url) as whole:
        assert whole.count() == 3
        assert list(whole.code_digests().values()) == [True]
        assert list(whole.blobs()) == []


def test_rows_whose_parent_is_gone(url: str, change: Change) -> None:
    if url.startswith("postgresql"):
        change("ALTER TABLE snapshots DROP CONSTRAINT fk_snapshots_pipeline_id", "DELETE FROM pipelines")
    else:
        change("DELETE FROM pipelines")
    lost = "1 rows of 'snapshots' refer by 'pipeline_id' to rows of 'pipelines' that are not there."
    assert told(url) == [("references", lost)]


def test_what_is_missing(url: str, change: Change) -> None:
    change(
        "DROP TABLE duties",
        "DROP INDEX ix_runs_state_id",
        "ALTER TABLE stacks RENAME COLUMN created TO made",
    )
    with looked_at(url) as whole:
        messages = {flaw.message for flaw in whole.flaws() if flaw.part == "schema"}
    assert messages == {
        "Table 'duties' is missing.",
        "Index 'ix_runs_state_id' is missing.",
        "Column 'created' of table 'stacks' is missing.",
    }


def test_a_value_that_cannot_be_read(url: str, change: Change) -> None:
    change("UPDATE snapshots SET content = '{'")
    [(part, message)] = told(url)
    assert part == "values"
    assert message.startswith("Column 'content' of 'snapshots' (id=")
    with looked_at(url) as whole:
        assert whole.code_digests() == {}


@pytest.mark.parametrize("url", [kind for kind in DATABASES if kind != "sqlite"], indirect=True)
class TestOnAServer:
    def test_an_index_that_is_not_valid(self, url: str, change: Change) -> None:
        change("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_runs_state_id'::regclass")
        assert told(url) == [("integrity", "An index is not valid: ix_runs_state_id. Make it anew (REINDEX).")]

    def test_a_constraint_that_was_never_held(self, url: str, change: Change) -> None:
        change("ALTER TABLE duties ADD CONSTRAINT later CHECK (name <> '') NOT VALID")
        assert told(url) == [("integrity", "A constraint was never held against the rows: later.")]


def test_what_is_written_while_it_is_looked_at_is_not_seen(url: str, change: Change) -> None:
    with looked_at(url) as whole:
        before = whole.count()
        db = Database(url)
        with db.write() as session:
            pipelines.get_or_create(session, "meanwhile", AT)
        db.close()
        assert whole.count() == before
    with looked_at(url) as whole:
        assert whole.count() == before + 1


def test_a_server_that_is_away(url: str, change: Change) -> None:
    away = url.replace("host=", "host=/nowhere") if url.startswith("postgresql") else "sqlite:////nowhere/a.db"
    with pytest.raises(Unavailable), looked_at(away):
        pass
