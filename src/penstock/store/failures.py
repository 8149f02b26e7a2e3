"""What a database's refusal means for a caller: every driver error as one of Penstock's own."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from penstock.errors import Conflict, InvalidInput, PenstockError, StorageFull, Unavailable

_SOON = {"Retry-After": "1"}

# Primary result codes of SQLite (the low byte): https://www.sqlite.org/rescode.html
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
# A file size limit (RLIMIT_FSIZE, quota) shows as an input/output error, not as a full disk.
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_CLOSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TAKEN = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}

# Classes and codes of SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES_FULL = ("53100", "58030")
_STATES_SOON = ("08", "25006", "25P03", "53", "55P03", "57014", "57P")
_STATES_COLLISION = ("40001", "40P01")
_STATE_TAKEN = "23505"


REFUSALS = (SQLAlchemyError, OverflowError, UnicodeEncodeError)
"""What a statement may raise. The last two come from drivers: a number or a text that the database cannot hold."""

SAME_NAME = "There is already something with this name."


class Collision(Unavailable):
    """Penstock cannot do this right now.

    Another writer was in the way and has won: the same again, from the beginning, finds what that one has written.
    """


def translate(error: Exception, where: str, taken: str = SAME_NAME) -> Exception:
    """The error to raise for `error` from the database at `where` (a path, or a URL without its password).

    `taken` is what a `Conflict` says where a unique name is used already. What is no failure of the database (a mistake
    in how it was called) comes back unchanged.
    """
    cause = error.orig if isinstance(error, StatementError) else error
    if isinstance(error, DataError) or isinstance(cause, OverflowError | UnicodeEncodeError):
        return InvalidInput("The database cannot hold this value: a number is too large, or a text is not Unicode.")
    if isinstance(error, PoolTimeout):
        return Unavailable("Every connection to the database is in use. Try again.", headers=_SOON)
    if not isinstance(error, DBAPIError):
        return error
    if error.connection_invalidated:
        return Unavailable(f"The connection to the database {where} was lost. Try again.", headers=_SOON)
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return Conflict(taken) if code in _TAKEN else _from_sqlite(code, where)
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return Conflict(taken) if state == _STATE_TAKEN else _from_server(error, state, where)


def _from_sqlite(code: int, where: str) -> PenstockError:
    primary = code & 0xFF
    if primary in _BUSY:
        return Unavailable(f"The database {where} is busy: another process is writing. Try again.", headers=_SOON)
    if primary in _FULL:
        return StorageFull(
            f"The database {where} could not grow: its disk is full or failing. Make room and try again."
        )
    if primary in _CLOSED:
        return Unavailable(
            f"The database {where} cannot be opened for writing. Check that the file and its directory exist and that "
            "this user may write to both."
        )
    if primary in _DAMAGED:
        return Unavailable(f"{where} is damaged or is no database of Penstock. Restore it from a backup.")
    return PenstockError(f"The database {where} refused a statement (SQLite result code {code}).")


def _from_server(error: DBAPIError, state: str, where: str) -> PenstockError:
    if state.startswith(_STATES_FULL):
        return StorageFull(f"The database {where} has no room left. Make room and try again.")
    if state in _STATES_COLLISION:
        return Collision(f"Another writer of the database {where} was in the way. Try again.", headers=_SOON)
    unreached = not state and isinstance(error, (OperationalError, InterfaceError))
    if unreached or state.startswith(_STATES_SOON):
        return Unavailable(f"The database {where} cannot answer now. Try again.", headers=_SOON)
    return PenstockError(f"The database {where} refused a statement (SQLSTATE {state or 'unknown'}).")


def translate_sqlite(error: sqlite3.Error, where: str) -> PenstockError:
    """The error to raise for one of the driver itself, where SQLAlchemy is not in between."""
    return _from_sqlite(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR), where)


def translate_file(error: OSError, path: Path) -> PenstockError:
    """The error to raise for a file at `path` that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFull(f"There is no room left to write {path}. Make room and try again.")
    return Unavailable(
        f"{path} could not be written: {error.strerror or error}. Check the directory and its permissions."
    )
