"""What a look at the database finds, each kind of damage by itself; a look changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.control import audit, databases
from penstock.control.audit import Deed
from penstock.errors import Conflict, NotFound, PenstockError, Unavailable
from penstock.ids import digest_of, new_id
from penstock.model.artifact import Artifact, File, artifact_digest
from penstock.model.database import PARTS, Condition
from penstock.stack.flavors.file_store import FileStore
from penstock.store import artifacts, schema
from tests.unit.control.conftest import CODE, House

Look = Callable[..., Condition]


@pytest.fixture
def look(daily: House) -> Look:
    """Look at a house in which there is something of everything."""
    here = daily.here
    (here.settings.home / "secret.key").write_bytes(b"0" * 48)
    store = FileStore(here.settings.home / "artifacts")
    run = daily.start().run
    digest, size = store.put(b"12")
    files = (File(name="value.json", digest=digest, size=size),)
    made = Artifact(
        id=new_id(),
        digest=artifact_digest(files),
        files=files,
        size=2,
        type="int",
        materializer="json",
        code_bearing=False,
        metadata={},
        name="number",
        run_id=run.id,
        created=run.created,
    )
    with here.db.write() as session:
        artifacts.insert(session, [made])
    for number in range(3):
        audit.refused(here, Deed(action="a", object=f"o/{number}"), NotFound("no"))
    audit.seal(here)

    def now(**options: Any) -> Condition:
        return databases.check(here.settings, lambda component: FileStore(component.options["path"]), **options)

    return now


def change(house: House, statement: str) -> None:
    with closing(sqlite3.connect(house.here.settings.home / "penstock.db")) as connection:
        connection.execute(statement)
        connection.commit()


def only(found: Condition) -> tuple[str, str, str]:
    (flaw,) = found.flaws
    return flaw.part, flaw.severity, flaw.message


def blob(house: House) -> Path:
    (path,) = (
        one for one in (house.here.settings.home / "artifacts").rglob("*") if one.is_file() and one.stat().st_size == 2
    )
    return path


def test_a_sound_one(look: Look, daily: House) -> None:
    def dump() -> list[str]:
        with closing(sqlite3.connect(daily.here.settings.home / "penstock.db")) as connection:
            return list(connection.iterdump())

    before = dump()
    found = look(deep=True)
    assert (found.sound, found.flaws, found.looked_at) == (True, (), PARTS)
    assert found.rows > 10
    assert (found.schema_now, found.schema_then) == (schema.HEAD, schema.HEAD)
    assert dump() == before


def test_none(tmp_path: Path, look: Look, daily: House) -> None:
    with pytest.raises(NotFound, match="no database"):
        databases.check(replace(daily.here.settings, home=tmp_path / "other"), lambda _: FileStore(tmp_path))
    assert not (tmp_path / "other").exists()


class TestSchema:
    def test_an_older_one_wants_an_upgrade(self, look: Look, daily: House) -> None:
        change(daily, "UPDATE alembic_version SET version_num = '0001'")
        found = look()
        part, severity, message = only(found)
        assert (part, severity, found.sound, found.looked_at) == ("schema", "attention", False, ("schema",))
        assert "penstock db upgrade" in message

    def test_a_newer_one(self, look: Look, daily: House) -> None:
        change(daily, "UPDATE alembic_version SET version_num = '9999'")
        part, severity, message = only(look())
        assert (part, severity) == ("schema", "broken")
        assert "9999, of a newer Penstock" in message

    def test_something_that_is_missing(self, look: Look, daily: House) -> None:
        change(daily, "DROP TABLE duties")
        change(daily, "DROP INDEX ix_runs_state_id")
        change(daily, "ALTER TABLE stacks RENAME COLUMN created TO made")
        found = look()
        assert {flaw.message for flaw in found.flaws} == {
            "Table 'duties' is missing.",
            "Index 'ix_runs_state_id' is missing.",
            "Column 'created' of table 'stacks' is missing.",
        }
        assert (found.sound, "values" in found.looked_at) == (False, False)


def test_a_damaged_file(look: Look, daily: House) -> None:
    daily.here.db.close()
    path = daily.here.settings.home / "penstock.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_runs_state_id'").fetchone()
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 : (page - 1) * 4096 + 200] = b"\xff" * 200
    path.write_bytes(data)
    found = look()
    assert not found.sound
    assert "integrity" in {flaw.part for flaw in found.flaws}
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(Unavailable, match="damaged or is no database"):
        look()


def test_rows_whose_parent_is_gone(look: Look, daily: House) -> None:
    change(daily, "DELETE FROM pipelines")
    found = look()
    assert {flaw.part for flaw in found.flaws} == {"references"}
    assert "1 rows of 'runs' refer by 'pipeline_id' to rows of 'pipelines' that are not there." in {
        flaw.message for flaw in found.flaws
    }


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE runs SET cause = 'nonsense'", "Column 'cause' of 'runs' (id="),
        ("UPDATE runs SET state = 'dancing'", "Column 'state' of 'runs' (id="),
        ("UPDATE runs SET created = 'yesterday'", "Column 'created' of 'runs' (id="),
        ("UPDATE snapshots SET content = '{'", "Column 'content' of 'snapshots' (id="),
    ],
)
def test_values_that_cannot_be_read(look: Look, daily: House, statement: str, told: str) -> None:
    change(daily, statement)
    found = [flaw for flaw in look().flaws if flaw.part == "values"]
    assert [flaw.message[: len(told)] for flaw in found] == [told]


def test_much_of_a_kind_is_not_told_in_full(look: Look, daily: House) -> None:
    for number in range(databases.databases.MOST + 5):
        change(daily, f"INSERT INTO duties VALUES ('d{number}', 'me', 'never')")
    found = look().flaws
    assert len(found) == databases.databases.MOST + 1
    assert found[-1].message == "There is more of this kind."


class TestAudit:
    def test_an_entry_that_was_changed(self, look: Look, daily: House) -> None:
        change(daily, "UPDATE audit_entries SET account = 'somebody' WHERE number = 2")
        part, severity, message = only(look())
        assert (part, severity) == ("audit", "broken")
        assert "entry 2" in message

    def test_without_the_secret_it_cannot_be_told(self, look: Look, daily: House) -> None:
        (daily.here.settings.home / "secret.key").unlink()
        part, severity, message = only(look())
        assert (part, severity) == ("audit", "broken")
        assert "secret.key cannot be read" in message
        assert not (daily.here.settings.home / "secret.key").exists()

    def test_entries_without_a_place_are_left_alone(self, look: Look, daily: House) -> None:
        audit.refused(daily.here, Deed(action="a", object="o/9"), NotFound("no"))
        assert look().sound
        with daily.here.db.read() as session:
            assert audit.audit.count_waiting(session) == 1


class TestFiles:
    def test_code_that_is_missing_or_damaged(self, look: Look, daily: House) -> None:
        path = daily.here.code_directory / f"{digest_of(CODE)}.tar"
        path.write_bytes(b"another")
        part, severity, message = only(look())
        assert (part, severity, "is damaged" in message) == ("code", "broken", True)
        path.unlink()
        assert "There is no code archive" in only(look())[2]

    def test_code_that_nobody_needs(self, look: Look, daily: House) -> None:
        change(daily, f"INSERT INTO code_archives VALUES ('{'a' * 64}', 3, 1)")
        found = look()
        assert only(found)[:2] == ("code", "attention")
        assert found.sound

    def test_a_blob_that_is_missing(self, look: Look, daily: House) -> None:
        blob(daily).unlink()
        part, severity, message = only(look())
        assert (part, severity) == ("artifacts", "broken")
        assert "'value.json' of artifact number@1 is missing" in message

    def test_a_blob_that_is_damaged_is_found_by_who_looks_deep(self, look: Look, daily: House) -> None:
        path = blob(daily)
        path.chmod(0o600)
        path.write_bytes(b"13")
        assert look().sound
        assert "'value.json' of artifact number@1 is damaged" in only(look(deep=True))[2]

    def test_a_store_that_cannot_be_asked(self, look: Look, daily: House) -> None:
        def gone(_: object) -> FileStore:
            raise Unavailable("The bucket is away.")

        found = databases.check(daily.here.settings, gone)
        assert only(found) == ("artifacts", "broken", "The artifact store could not be asked: The bucket is away.")


class TestBackupAndMove:
    def test_a_backup_says_what_is_not_in_it(self, look: Look, daily: House, tmp_path: Path) -> None:
        made = databases.back_up(daily.here.settings, tmp_path / "a.db")
        assert made.size == (tmp_path / "a.db").stat().st_size
        home = daily.here.settings.home
        assert [one.where for one in made.besides] == [
            str(home / name) for name in ("secret.key", "code", "artifacts", "secrets", "secrets.key")
        ]

    def test_what_was_moved_away_is_not_begun_anew(self, look: Look, daily: House, tmp_path: Path) -> None:
        settings = daily.here.settings
        daily.here.db.close()
        moved = databases.move(settings, f"sqlite:///{tmp_path / 'b.db'}")
        assert moved.rows["runs"] == 1
        assert moved.set_aside == str(settings.home / "penstock.db.moved")
        with pytest.raises(Conflict, match="PENSTOCK_DATABASE_URL"):
            databases.databases.refuse_moved(settings.database)
        databases.databases.refuse_moved(f"sqlite:///{tmp_path / 'b.db'}")

    def test_an_address_that_is_none_is_not_repeated(self, look: Look, daily: House) -> None:
        with pytest.raises(PenstockError, match="no URL of a database") as refused:
            databases.move(daily.here.settings, "postgres:s3cret")
        assert "s3cret" not in str(refused.value)
