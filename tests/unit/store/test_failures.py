from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InvalidRequestError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from penstock.errors import Conflict, InvalidInput, PenstockError, StorageFull, Unavailable
from penstock.store.failures import Collision, translate, translate_file


def from_sqlite(code: int) -> DBAPIError:
    original = sqlite3.OperationalError("secret SQL")
    original.sqlite_errorcode = code
    return OperationalError("SELECT secret", {}, original)


def from_server(state: str | None, kind: type[DBAPIError] = OperationalError) -> DBAPIError:
    original = Exception("secret SQL")
    original.sqlstate = state  # type: ignore[attr-defined]
    return kind("SELECT secret", {}, original)


def lost() -> DBAPIError:
    return OperationalError("SELECT secret", {}, Exception(), connection_invalidated=True)


CASES = [
    (from_sqlite(sqlite3.SQLITE_BUSY), Unavailable),
    (from_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), Unavailable),
    (from_sqlite(sqlite3.SQLITE_LOCKED), Unavailable),
    (from_sqlite(sqlite3.SQLITE_FULL), StorageFull),
    (from_sqlite(sqlite3.SQLITE_IOERR_WRITE), StorageFull),
    (from_sqlite(sqlite3.SQLITE_READONLY_DBMOVED), Unavailable),
    (from_sqlite(sqlite3.SQLITE_CANTOPEN), Unavailable),
    (from_sqlite(sqlite3.SQLITE_CORRUPT), Unavailable),
    (from_sqlite(sqlite3.SQLITE_CONSTRAINT_UNIQUE), Conflict),
    (from_sqlite(sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY), Conflict),
    (from_sqlite(sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY), PenstockError),
    (from_sqlite(sqlite3.SQLITE_ERROR), PenstockError),
    (from_server("53100"), StorageFull),
    (from_server("53300"), Unavailable),
    (from_server("57P01"), Unavailable),
    (from_server("57014"), Unavailable),
    (from_server("25P03"), Unavailable),
    (from_server("40P01"), Collision),
    (from_server("40001"), Collision),
    (from_server(None), Unavailable),
    (from_server("23505", IntegrityError), Conflict),
    (from_server("23503", IntegrityError), PenstockError),
    (from_server("42601"), PenstockError),
    (from_server("22003", DataError), InvalidInput),
    (OverflowError("secret"), InvalidInput),
    (UnicodeEncodeError("utf-8", "secret \ud800", 7, 8, "surrogate"), InvalidInput),
    (lost(), Unavailable),
    (PoolTimeout(), Unavailable),
]


@pytest.mark.parametrize(("error", "kind"), CASES)
def test_each_refusal_has_its_meaning_and_shows_no_sql(error: Exception, kind: type[PenstockError]) -> None:
    meant = translate(error, "/data/p.db")
    assert type(meant) is kind
    assert "secret" not in str(meant)


def test_a_conflict_says_what_is_taken() -> None:
    assert str(translate(from_sqlite(sqlite3.SQLITE_CONSTRAINT_UNIQUE), "x", taken="It is taken.")) == "It is taken."


def test_what_will_pass_says_when_to_come_again() -> None:
    meant = translate(from_sqlite(sqlite3.SQLITE_BUSY), "x")
    assert isinstance(meant, Unavailable)
    assert meant.headers == {"Retry-After": "1"}


def test_a_mistake_in_our_own_code_stays_what_it_is() -> None:
    mistake = InvalidRequestError("programming error")
    assert translate(mistake, "x") is mistake


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EFBIG, StorageFull), (errno.EROFS, Unavailable)],
)
def test_files_fail_with_their_path(number: int, kind: type[PenstockError]) -> None:
    meant = translate_file(OSError(number, "reason"), Path("/data/code"))
    assert type(meant) is kind
    assert "/data/code" in str(meant)
