"""A database as a whole: how it is opened by one who wants all of it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    URL,
    Column,
    Connection,
    Table,
    TableClause,
    column,
    exists,
    func,
    inspect,
    make_url,
    select,
    table,
    text,
)
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.types import TypeDecorator, TypeEngine

from penstock.errors import Conflict, PenstockError
from penstock.model.database import Flaw, Part
from penstock.store.engines import engine
from penstock.store.failures import translate
from penstock.store.parts import metadata
from penstock.store.tables import artifacts, code_archives, snapshots

PATIENCE = 10.0
"""Seconds to wait for others who are writing."""

PORTION = 100
"""Rows that are read at once: a row may be large."""

MOST = 20
"""Flaws of one kind that are told; of the others only that there are more."""

MOVED = ".moved"
"""What the name of a file gets at its end when the database that it was lives elsewhere."""

_INVALID = {
    "An index is not valid: {}. Make it anew (REINDEX).": (
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace"
    ),
    "A constraint was never held against the rows: {}.": (
        "SELECT conname FROM pg_constraint WHERE NOT convalidated AND connamespace = current_schema()::regnamespace"
    ),
    "The server found {} pages whose checksum is wrong.": (
        "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database() AND checksum_failures > 0"
    ),
}

_UNREADABLE = (ValueError, TypeError, OverflowError, msgspec.MsgspecError)
"""What reading a value raises that nothing of ours has written."""

Begin = Literal["DEFERRED", "IMMEDIATE", "EXCLUSIVE"]


def file_of(url: str) -> Path | None:
    """The file of an SQLite database; None for a database on a server."""
    parsed = _parsed(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def shown(url: str) -> str:
    """The path, or the URL without its password, for messages."""
    path = file_of(url)
    return _parsed(url).render_as_string(hide_password=True) if path is None else str(path)


def is_there(url: str) -> bool:
    """Whether there is something to look at. A database on a server is asked; a file must not be made by looking."""
    path = file_of(url)
    return path is None or path.exists()


def refuse_moved(url: str) -> None:
    """Raise `Conflict` if this database has gone elsewhere: a new, empty one in its place would only hide that."""
    path = file_of(url)
    if path is None or path.exists():
        return
    left = path.with_name(path.name + MOVED)
    if left.exists():
        raise Conflict(
            f"The database {path} was moved into another one: set PENSTOCK_DATABASE_URL to that. What it was is in {left}; "
            f"rename that to {path.name} to go on with it all the same."
        )


@contextmanager
def opened(url: str, begin: Begin = "DEFERRED") -> Iterator[Connection]:
    """A connection that sees the database at one moment. Raises `Unavailable` or `StorageFull` like a session.

    What is written with IMMEDIATE is stored, unless the block raises; otherwise nothing is. On SQLite nobody else writes
    meanwhile with IMMEDIATE or EXCLUSIVE.
    """
    made = engine(url, 1, PATIENCE, longest=0)  # it takes all rows along
    try:
        with made.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql(f"BEGIN {begin}")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection
            if begin == "IMMEDIATE":
                connection.commit()
            else:
                connection.rollback()
    except SQLAlchemyError as error:
        raise translate(error, shown(url)) from error
    finally:
        made.dispose()


def stamp(connection: Connection) -> str | None:
    """The revision of the schema; None if there is none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def plain(of: Table) -> TableClause:
    """The table with its values as they are stored: nothing is read out of them, and nothing written anew."""
    return table(of.name, *(column(one.name, _stored(one)) for one in of.columns))


def rows(connection: Connection, of: TableClause) -> Iterator[Sequence[Any]]:
    """All rows of a table, a few at a time in memory."""
    yield from connection.execute(select(of), execution_options={"yield_per": PORTION})


class Whole:
    """A database at one moment, to be looked at."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def stamp(self) -> str | None:
        """The revision of the schema; None if there is none."""
        return stamp(self._connection)

    def count(self) -> int:
        """How many rows there are in all."""
        counts = (select(func.count()).select_from(one) for one in metadata.sorted_tables)
        return sum(int(self._connection.execute(one).scalar_one()) for one in counts)

    def flaws(self) -> Iterator[Flaw]:
        """What is wrong with a database that says it has the schema of this release, but for its values."""
        yield from self._found("schema", _strange)
        yield from self._found("integrity", _unsound if self._connection.dialect.name == "sqlite" else _invalid)
        yield from self._found("references", _without_parent)

    def unreadable(self) -> Iterator[Flaw]:
        """Every value that this release cannot read. Each row of each table is looked at."""
        for one in metadata.sorted_tables:
            yield from self._found("values", partial(_values, of=one))

    def code_digests(self) -> dict[str, bool]:
        """The code archives that are on record or that a snapshot has; for each, whether a snapshot has it."""
        found = {str(row[0]): False for row in self._connection.execute(select(code_archives.c.digest))}
        for (content,) in self._readable(snapshots.c.content):
            if content.code is not None:
                found[content.code] = True
        return found

    def blobs(self) -> Iterator[tuple[str, str]]:
        """The digest of each file of each artifact, and what to call it."""
        for identity, name, version, files in self._readable(
            artifacts.c.id, artifacts.c.name, artifacts.c.version, artifacts.c.files
        ):
            called = f"{name}@{version}" if name else identity
            for file in files:
                yield file.digest, f"'{file.name}' of artifact {called}"

    def _found(self, part: Part, look: Callable[[Connection], Iterator[str]]) -> Iterator[Flaw]:
        """What a look finds; where it cannot go on, that is what it has found."""
        try:
            yield from told(part, look(self._connection))
        except DatabaseError as error:
            yield Flaw(severity="broken", part=part, message=f"It could not be looked at to the end: {error.orig}.")

    def _readable(self, *wanted: Column[Any]) -> Iterator[list[Any]]:
        """These columns of a table, without the rows that cannot be read."""
        of = plain(wanted[0].table).c
        chosen = select(*(of[one.name] for one in wanted))
        for row in self._connection.execute(chosen, execution_options={"yield_per": PORTION}):
            with suppress(*_UNREADABLE):
                yield [_read(one, value, self._connection) for one, value in zip(wanted, row, strict=True)]


@contextmanager
def looked_at(url: str) -> Iterator[Whole]:
    """The database at one moment. Raises `Unavailable` if it cannot be read."""
    with opened(url) as connection:
        yield Whole(connection)


def told(part: Part, messages: Iterator[str]) -> Iterator[Flaw]:
    """What is broken in a part; not all of it, if it is much."""
    for message in islice(messages, MOST):
        yield Flaw(severity="broken", part=part, message=message)
    if next(messages, None) is not None:
        yield Flaw(severity="broken", part=part, message="There is more of this kind.")


def _read(of: Column[Any], value: Any, connection: Connection) -> Any:
    return of.type.process_result_value(value, connection.dialect) if isinstance(of.type, TypeDecorator) else value


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError:  # its words have the URL in them, and perhaps a password
        raise PenstockError(
            "This is no URL of a database: give one such as sqlite:////path/to/file.db or "
            "postgresql+psycopg://user@host/name."
        ) from None


def _stored(of: Column[Any]) -> TypeEngine[Any]:
    return of.type.impl_instance if isinstance(of.type, TypeDecorator) else of.type


def _strange(connection: Connection) -> Iterator[str]:
    """What the tables of this release have and the database has not."""
    looked = inspect(connection)
    names = set(looked.get_table_names())
    for one in metadata.sorted_tables:
        if one.name not in names:
            yield f"Table '{one.name}' is missing."
            continue
        columns = {column["name"] for column in looked.get_columns(one.name)}
        yield from (
            f"Column '{name}' of table '{one.name}' is missing."
            for name in (each.name for each in one.columns)
            if name not in columns
        )
        indexes = {index["name"] for index in looked.get_indexes(one.name)}
        yield from (f"Index '{index.name}' is missing." for index in one.indexes if index.name not in indexes)


def _invalid(connection: Connection) -> Iterator[str]:
    for message, question in _INVALID.items():
        yield from (message.format(found) for found in connection.execute(text(question)).scalars())


def _unsound(connection: Connection) -> Iterator[str]:
    said = connection.exec_driver_sql(f"PRAGMA integrity_check({MOST + 1})").scalars()
    yield from (one for one in said if one != "ok")


def _without_parent(connection: Connection) -> Iterator[str]:
    for one in metadata.sorted_tables:
        for key in one.foreign_keys:
            child, parent = one.alias("child"), key.column.table.alias("parent")
            refers = child.c[key.parent.name]
            lost = refers.is_not(None) & ~exists().where(parent.c[key.column.name] == refers)
            number = connection.execute(select(func.count()).select_from(child).where(lost)).scalar_one()
            if number:
                to = key.column.table.name
                yield f"{number} rows of '{one.name}' refer by '{key.parent.name}' to rows of '{to}' that are not there."


def _values(connection: Connection, of: Table) -> Iterator[str]:
    """What cannot be read in a table, and where it stands."""
    columns = list(of.columns)
    for row in rows(connection, plain(of)):
        for one, value in zip(columns, row, strict=True):
            try:
                _read(one, value, connection)
            except _UNREADABLE as error:
                which = ", ".join(f"{key.name}={row[columns.index(key)]}" for key in of.primary_key)
                yield f"Column '{one.name}' of '{of.name}' ({which}) cannot be read: {error}"
