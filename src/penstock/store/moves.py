"""All rows of one database into another, of whatever kind, the same in every bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, TableClause, insert, inspect, select, text
from sqlalchemy.exc import DataError, IntegrityError, StatementError

from penstock.errors import Conflict, PenstockError, Unavailable
from penstock.store import schema
from penstock.store.databases import MOVED, file_of, opened, plain, rows, shown, stamp
from penstock.store.engines import create_private
from penstock.store.parts import metadata

LARGEST = 4 * 1024 * 1024
"""Letters that are written at once."""

_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'"
)


class _TakenBack(Exception):
    """A rehearsal is over."""


def move(source: str, target: str, *, dry_run: bool = False) -> tuple[dict[str, int], Path | None]:
    """Write everything that is in one database into another, empty one; how many rows of each table.

    It is all there when this returns, or nothing is. Every row is read again from the target, and held against the source,
    before the one transaction there ends. Nobody else uses the source meanwhile; with `dry_run` others may, and everything is
    taken back in the end. A source that is a file gets another name, which is returned too.

    Raises `Conflict` if the source is in use or the target not empty, or if either has not the schema of this release.
    """
    path = file_of(target)
    made = None if path is None or path.exists() else path
    if made is not None:
        create_private(str(made))
    counts: dict[str, int] = {}
    try:
        with _source(source, alone=not dry_run) as here:
            with opened(target, "IMMEDIATE") as there:
                _prepare(there, shown(target))
                for one in metadata.sorted_tables:
                    counts[one.name] = _carried(here, there, one)
                if dry_run:
                    raise _TakenBack
            made = None  # it is no draft any more
            return counts, _set_aside(source)
    except _TakenBack:
        return counts, None
    finally:
        if made is not None:
            for left in ("", "-wal", "-shm"):
                made.with_name(made.name + left).unlink(missing_ok=True)


@contextmanager
def _source(url: str, *, alone: bool) -> Iterator[Connection]:
    """The database to be read, at one moment; with `alone`, nobody else has it until the end."""
    path = file_of(url)
    if alone and path is not None:
        _leave_wal(url)
    with opened(url, "EXCLUSIVE" if alone else "DEFERRED") as connection:
        if path is None and alone:
            _only_one(connection, shown(url))
        found = stamp(connection)
        if found != schema.HEAD:
            raise Conflict(
                f"{shown(url)} has schema {found}, and this release {schema.HEAD}: bring it there first, with `penstock db upgrade`."
            )
        yield connection


def _leave_wal(url: str) -> None:
    """Go back to a plain file, which is possible only for one who has it alone. The next one who opens it changes it again."""
    with opened(url) as connection:
        connection.commit()
        try:
            mode = connection.exec_driver_sql("PRAGMA journal_mode = DELETE").scalar()
        except StatementError:
            mode = None
    if mode != "delete":
        raise _in_use(shown(url))


def _only_one(connection: Connection, where: str) -> None:
    if connection.execute(_OTHERS).scalar_one():
        raise _in_use(where)
    names = ", ".join(one.name for one in metadata.sorted_tables)
    connection.execute(text(f"LOCK TABLE {names} IN SHARE MODE"))


def _in_use(where: str) -> Conflict:
    return Conflict(
        f"{where} is in use by another process: stop every server that works with it, and what else has it open."
    )


def _prepare(connection: Connection, where: str) -> None:
    """See to it that the target has the schema and no row. Nobody else writes into it from here on."""
    names = inspect(connection).get_table_names()
    if not names:
        schema.create(connection)
        return
    found = stamp(connection)
    if found is None:
        raise Conflict(
            f"{where} has tables, and none of Penstock's ({', '.join(sorted(names)[:5])}): give it a database of its own."
        )
    if found != schema.HEAD:
        raise Conflict(f"{where} has schema {found}, and this release {schema.HEAD}: give an empty database.")
    if connection.dialect.name != "sqlite":
        connection.execute(
            text(f"LOCK TABLE {', '.join(one.name for one in metadata.sorted_tables)} IN EXCLUSIVE MODE")
        )
    for one in metadata.sorted_tables:
        if connection.execute(select(one.c[0]).limit(1)).first() is not None:
            raise Conflict(
                f"{where} is not empty: there are rows in '{one.name}'. Nothing was changed; give an empty database."
            )


@dataclass
class _Tally:
    """How many rows, and a sum of what is in them that does not depend on their order."""

    rows: int = 0
    sum: int = 0

    def add(self, row: Sequence[Any]) -> None:
        digest = hashlib.blake2b(repr(tuple(row)).encode(), digest_size=32).digest()
        self.rows += 1
        self.sum = (self.sum + int.from_bytes(digest)) % 2**256


def _carried(here: Connection, there: Connection, one: Table) -> int:
    """Write the rows of a table into the target, and read them again; how many."""
    of, read, kept = plain(one), _Tally(), _Tally()
    for portion in _portions(here, of, read):
        _write(there, one, of, portion)
    for row in rows(there, of):
        kept.add(row)
    if kept != read:
        raise PenstockError(
            f"Table '{one.name}' is not the same after it was written: {kept.rows} rows of {read.rows}. Everything was taken back."
        )
    return read.rows


def _portions(here: Connection, of: TableClause, read: _Tally) -> Iterator[list[dict[str, Any]]]:
    """The rows, as many at once as fit."""
    names, portion, size = list(of.c.keys()), [], 0
    for row in rows(here, of):
        read.add(row)
        portion.append(dict(zip(names, row, strict=True)))
        size += sum(len(value) if isinstance(value, str) else 8 for value in row)
        if size >= LARGEST or len(portion) >= 1000:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _write(there: Connection, one: Table, of: TableClause, portion: list[dict[str, Any]]) -> None:
    try:
        with there.begin_nested():
            there.execute(insert(of), portion)
    except (DataError, IntegrityError) as error:
        if len(portion) == 1:
            key = ", ".join(f"{column.name}={portion[0][column.name]}" for column in one.primary_key)
            raise PenstockError(
                f"The row of '{one.name}' with {key} cannot be kept there: {error.orig}. Everything was taken back."
            ) from error
        for row in portion:
            _write(there, one, of, [row])


def _set_aside(url: str) -> Path | None:
    """Give the file another name, so that nobody goes on with it unawares."""
    path = file_of(url)
    if path is None:
        return None
    left = path.with_name(path.name + MOVED)
    try:
        path.rename(left)
    except OSError as error:
        raise Unavailable(
            f"Everything is in the other database, and {path} could not be renamed ({error.strerror}): do it yourself, so that "
            "nobody goes on with it unawares."
        ) from error
    return left
