"""Everything in one database comes into another one, whatever the two are: every table, every kind of value, or nothing at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Integer, Table, TypeDecorator, insert, inspect, select, text

from penstock.errors import Conflict, PenstockError, Unavailable
from penstock.store import moves, schema
from penstock.store.databases import MOVED, file_of, opened, plain, rows
from penstock.store.moves import move
from penstock.store.parts import metadata
from penstock.store.session import Database
from tests.contract.conftest import DATABASES

TABLES = metadata.sorted_tables
JSON = ('{"nul":"a\\u0000b","face":"\U0001f600","big":18446744073709551617,"zero":-0.0,"b":1,"a":1.50}', '""', "[]")
ROWS = 3

Place = Callable[[str], str]


@pytest.fixture
def place(tmp_path: Path, clusters: Any) -> Place:
    """The URL of a new, empty database of a kind."""
    made = iter(range(100))

    def url(kind: str) -> str:
        name, _, version = kind.partition("-")
        if name == "postgresql":
            return str(clusters(version).database())
        return f"sqlite:///{tmp_path / f'{next(made)}.db'}"

    return url


def sample(table: Table, number: int) -> dict[str, Any]:
    """A row of any table: the extremes of what its columns hold, and NULL where they may."""
    row: dict[str, Any] = {}
    for column in table.columns:
        kind = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
        if column.foreign_keys and not (column.nullable and number == 1):
            row[column.name] = f"id-{number}"
        elif column.nullable and number == 1:
            row[column.name] = None
        elif isinstance(kind, Boolean):
            row[column.name] = number % 2 == 0
        elif isinstance(kind, BigInteger):
            row[column.name] = (0, 2**63 - 1, -(2**63))[number]
        elif isinstance(kind, Integer):
            row[column.name] = (0, 2**31 - 1, -(2**31))[number]
        elif type(column.type).__name__ == "Json":
            row[column.name] = JSON[number]
        else:
            row[column.name] = f"id-{number}"
    return row


def filled(url: str) -> str:
    db = Database(url)
    db.migrate()
    db.close()
    with opened(url, "IMMEDIATE") as connection:
        for table in TABLES:
            connection.execute(insert(plain(table)), [sample(table, number) for number in range(ROWS)])
    return url


def contents(url: str) -> dict[str, set[tuple[Any, ...]]]:
    with opened(url) as connection:
        return {table.name: {tuple(row) for row in rows(connection, plain(table))} for table in TABLES}


def names(url: str) -> list[str]:
    with opened(url) as connection:
        return inspect(connection).get_table_names()


@pytest.fixture(params=product(DATABASES, DATABASES), ids=lambda pair: f"{pair[0]}-to-{pair[1]}")
def pair(request: pytest.FixtureRequest, place: Place) -> tuple[str, str]:
    """A database with rows in every table, and an empty one."""
    source, target = request.param
    return filled(place(source)), place(target)


def test_every_row_of_every_table_arrives_as_it_was(pair: tuple[str, str]) -> None:
    source, target = pair
    before = contents(source)
    assert all(len(found) == ROWS for found in before.values())
    rehearsed, left = move(source, target, dry_run=True)
    assert left is None
    assert names(target) == []
    assert contents(source) == before
    counts, left = move(source, target)
    # A table that only a migration knows would be in the database, and not among those that were moved.
    assert counts == rehearsed == {name: ROWS for name in names(target) if name != "alembic_version"}
    assert contents(target) == before
    path = file_of(source)
    if path is None:
        assert left is None
    else:
        assert left == path.with_name(path.name + MOVED)
        assert (left.exists(), path.exists()) == (True, False)
        assert contents(f"sqlite:///{left}") == before
    db = Database(target)
    assert db.is_current()
    db.close()


def test_no_column_counts_by_itself() -> None:
    """There are no sequences that a move would have to set."""
    assert [table.name for table in TABLES if table.autoincrement_column is not None] == []


@pytest.mark.parametrize("kind", DATABASES)
class TestRefused:
    def test_a_target_that_is_not_empty(self, place: Place, kind: str) -> None:
        source, target = filled(place("sqlite")), filled(place(kind))
        before = contents(target)
        with pytest.raises(Conflict, match="not empty: there are rows in"):
            move(source, target)
        assert contents(target) == before
        assert (file_of(source) or Path()).exists()

    def test_a_target_with_one_row_in_its_last_table(self, place: Place, kind: str) -> None:
        source, target = filled(place("sqlite")), place(kind)
        Database(target).migrate()
        alone = next(table for table in reversed(TABLES) if not table.foreign_keys)
        with opened(target, "IMMEDIATE") as connection:
            connection.execute(insert(plain(alone)), [sample(alone, 0)])
        with pytest.raises(Conflict, match=f"rows in '{alone.name}'"):
            move(source, target)

    def test_a_target_with_the_schema_and_no_rows_is_taken(self, place: Place, kind: str) -> None:
        source, target = filled(place("sqlite")), place(kind)
        Database(target).migrate()
        before = contents(source)
        move(source, target)
        assert contents(target) == before

    def test_a_target_of_somebody_else(self, place: Place, kind: str) -> None:
        source, target = filled(place("sqlite")), place(kind)
        with opened(target, "IMMEDIATE") as connection:
            connection.execute(text("CREATE TABLE theirs (a INTEGER)"))
        with pytest.raises(Conflict, match="none of Penstock's \\(theirs\\)"):
            move(source, target)
        assert names(target) == ["theirs"]

    @pytest.mark.parametrize("which", ["source", "target"])
    def test_another_schema(self, place: Place, kind: str, which: str) -> None:
        source, target = filled(place(kind)), place(kind)
        Database(target).migrate()
        with opened(source if which == "source" else target, "IMMEDIATE") as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        with pytest.raises(Conflict, match=f"schema 0001, and this release {schema.HEAD}"):
            move(source, target)

    def test_a_source_that_is_in_use(self, place: Place, kind: str) -> None:
        source, target = filled(place(kind)), place("sqlite")
        db = Database(source)
        with db.read() as session:
            session.value(select(TABLES[0].c[0]))
            with pytest.raises(Conflict, match="is in use by another process"):
                move(source, target)
            assert move(source, target, dry_run=True)[0][TABLES[0].name] == ROWS
        db.close()
        assert not (file_of(target) or Path()).exists()
        move(source, target)

    def test_what_breaks_half_way_leaves_nothing(
        self, place: Place, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, target = filled(place("sqlite")), place(kind)
        carried = moves._carried

        def broken(here: Any, there: Any, one: Table) -> int:
            if one is TABLES[-1]:
                raise Unavailable("The network is gone.")
            return carried(here, there, one)

        with monkeypatch.context() as patched:
            patched.setattr(moves, "_carried", broken)
            with pytest.raises(Unavailable, match="network"):
                move(source, target)
        assert (file_of(source) or Path()).exists()
        move(source, target)  # again, from the start
        assert contents(target).keys() == {table.name for table in TABLES}


KILLED = """
import sys
from penstock.store import moves
from penstock.store.parts import metadata
carried = moves._carried
def stopping(here, there, one):
    counted = carried(here, there, one)
    if one is metadata.sorted_tables[-1]:
        print("all is written", flush=True)
        sys.stdin.read()
    return counted
moves._carried = stopping
moves.move(*sys.argv[1:])
"""


@pytest.mark.parametrize("kind", DATABASES)
def test_one_that_is_killed_before_its_end_has_changed_nothing(place: Place, kind: str, start: Any) -> None:
    source, target = filled(place("sqlite")), place(kind)
    before = contents(source)
    mover = start(KILLED, source, target)
    assert mover.stdout.readline() == "all is written\n"
    mover.kill()
    mover.wait()
    assert contents(source) == before
    move(source, target)  # again, from the start
    assert contents(target) == before


@pytest.mark.parametrize("kind", [one for one in DATABASES if one != "sqlite"])
def test_a_row_that_the_target_cannot_keep_is_named(place: Place, kind: str) -> None:
    source, target = filled(place("sqlite")), place(kind)
    with opened(source, "IMMEDIATE") as connection:
        connection.execute(text("UPDATE duties SET owner = 'a' || char(0) || 'b' WHERE name = 'id-1'"))
    with pytest.raises(PenstockError, match="row of 'duties' with name=id-1 cannot be kept there"):
        move(source, target)
    assert names(target) == []


def test_what_arrives_otherwise_is_noticed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = filled(place("sqlite")), place("sqlite")

    def careless(there: Any, one: Table, of: Any, portion: list[dict[str, Any]]) -> None:
        changed = [{**row, "owner": "me"} if one.name == "duties" else row for row in portion]
        there.execute(insert(of), changed)

    monkeypatch.setattr(moves, "_write", careless)
    with pytest.raises(PenstockError, match="'duties' is not the same"):
        move(source, target)
    assert not (file_of(target) or Path()).exists()


def test_a_new_file_is_for_its_owner_alone(place: Place) -> None:
    target = place("sqlite")
    move(filled(place("sqlite")), target)
    assert stat.S_IMODE(os.stat(file_of(target) or "").st_mode) == 0o600
