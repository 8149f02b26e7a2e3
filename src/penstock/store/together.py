"""Transactions that share a commit: on a database with one writer, who waits for the disk takes along who waits for its turn."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from penstock.store.failures import translate

MOST = 64
LONGEST = 0.02
"""How many transactions are committed together at most, and after how many seconds no further one joins them.

A commit costs a write to the disk that is waited for; those who wait for their turn meanwhile share the next one.
"""


class Together:
    """Transactions on one connection, one after the other, that are committed together: the last one does it for all."""

    def __init__(self, connection: Connection, where: str, age: int) -> None:
        self.connection = connection
        self.age = age
        """How old the memory of the process was when it began."""

        self.members = 0
        self._where = where
        self._begun = time.monotonic()
        self._ended = threading.Event()
        self._error: Exception | None = None

    @property
    def open(self) -> bool:
        """Whether another one may join."""
        return self.members < MOST and time.monotonic() - self._begun < LONGEST

    @property
    def alive(self) -> bool:
        """Whether what was written is still there: some errors take everything back."""
        driver = None if self.connection.invalidated else self.connection.connection.dbapi_connection
        return bool(getattr(driver, "in_transaction", False))

    def join(self) -> None:
        """Mark where the next one begins."""
        self._tell("SAVEPOINT member")

    def keep(self) -> None:
        """What this one has written is to be stored with the rest."""
        self._tell("RELEASE member")
        self.members += 1

    def take_back(self) -> None:
        """Undo what this one has written, and nothing else."""
        with suppress(SQLAlchemyError):  # an error may have taken everything back
            self.connection.exec_driver_sql("ROLLBACK TO member")
            self.connection.exec_driver_sql("RELEASE member")

    def end(self, error: Exception | None) -> None:
        """All is stored, or nothing because of `error`."""
        self._error = error
        self._ended.set()

    def wait(self) -> None:
        """Return when all is stored; raises what has prevented it."""
        self._ended.wait()
        if self._error is not None:
            raise self._error

    def _tell(self, statement: str) -> None:
        try:
            self.connection.exec_driver_sql(statement)
        except SQLAlchemyError as error:
            raise translate(error, self._where) from error
