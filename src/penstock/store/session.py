"""The database and its transactions. Only this file begins and ends them."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Executable, Row, Select, Table, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.util import immutabledict

from penstock.errors import PenstockError, StorageFull, Unavailable
from penstock.store import schema
from penstock.store.engines import create_private, engine
from penstock.store.failures import REFUSALS, SAME_NAME, Collision, translate
from penstock.store.memory import Memory
from penstock.store.together import Together
from penstock.store.turns import Turn, Turns

PATIENCE = 10.0
"""Seconds that a transaction waits for its turn: in this process, for a connection, and for other processes."""

MIGRATION_PATIENCE = 600.0
"""Seconds that a starting server waits for another one that is migrating the same database."""

_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")

TRIES = 5
"""How often something is done before it is given up because other writers were in the way each time."""

_STAMP = text("SELECT version_num FROM alembic_version")

# Otherwise how many rows an insert has written is known on some databases only.
_COUNTED = immutabledict({"preserve_rowcount": True})

_log = logging.getLogger(__name__)

T = TypeVar("T")

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class ReadSession:
    """One consistent view of the database; nothing is written. Valid inside its `with` block, in one thread."""

    def __init__(self, connection: Connection, where: str, memory: Memory, age: int) -> None:
        self._connection = connection
        self._where = where
        self._memory = memory
        self._age = age

    def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """All rows that the statement finds."""
        try:
            return self._connection.execute(statement, parameters).all()
        except REFUSALS as error:
            raise self._failed(error) from error

    def row(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Row[Any] | None:
        """The first row, or None."""
        try:
            return self._connection.execute(statement, parameters).first()
        except REFUSALS as error:
            raise self._failed(error) from error

    def value(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row, or None."""
        found = self.row(statement, parameters)
        return None if found is None else found[0]

    def recalled(self, kind: str, key: Hashable, read: Callable[[], T]) -> T:
        """What this process remembers of this kind under `key`; else what `read` finds, which is remembered.

        It must not be None, and nobody may change it. See `WriteSession.outdate`.
        """
        return self._memory.recall(kind, key, self._age, read)

    def held(self, statement: Select[Any], table: Table, *, skip: bool = False) -> Select[Any]:
        """`statement`, so that in a write session no other writer changes the rows of `table` that it finds.

        With `skip`, rows that another writer holds are passed over instead of waited for.
        """
        return statement

    def _failed(self, error: Exception, taken: str = SAME_NAME) -> Exception:
        return translate(error, self._where, taken)


class WriteSession(ReadSession):
    """One transaction: all of it is stored when the `with` block ends, or nothing if it raises.

    A statement that failed spoils the transaction on every database; passing over its error does not save the rest.
    """

    def __init__(self, connection: Connection, where: str, memory: Memory, age: int) -> None:
        super().__init__(connection, where, memory, age)
        self._changed: set[str] = set()
        self._spoiled: Exception | None = None
        self._callbacks: list[Callable[[], object]] = []
        # SQLite has one writer at a time: whatever a write session reads is held already.
        self._one_writer = connection.dialect.name == "sqlite"

    def change(self, statement: Executable, parameters: Parameters | None = None, *, taken: str = SAME_NAME) -> int:
        """How many rows the statement wrote; with a list of parameters, for all of them.

        Raises `Conflict` with the text `taken` if a unique name is used already.
        """
        if isinstance(parameters, Sequence) and not parameters:
            return 0
        try:
            return self._connection.execute(statement, parameters, execution_options=_COUNTED).rowcount
        except REFUSALS as error:
            raise self._failed(error, taken) from error

    def held(self, statement: Select[Any], table: Table, *, skip: bool = False) -> Select[Any]:
        """`statement`, holding the rows of `table` that it finds until the end."""
        # `key_share`: who adds a row that refers to one of these need not wait.
        return statement if self._one_writer else statement.with_for_update(of=table, skip_locked=skip, key_share=True)

    def alone(self, name: str) -> None:
        """Until the end nobody else goes on who is to be alone under this name: for what no row can be held for yet."""
        if not self._one_writer:
            self.value(_ALONE, {"name": name})

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Call `callback` once everything is stored; never if it is not. It may open sessions of its own.

        What it raises is logged and goes no further: the transaction has succeeded.
        """
        self._callbacks.append(callback)

    def _failed(self, error: Exception, taken: str = SAME_NAME) -> Exception:
        self._spoiled = super()._failed(error, taken)
        return self._spoiled

    def outdate(self, kind: str) -> None:
        """What is remembered of this kind holds no longer: in this session at once, elsewhere once everything is stored."""
        self._changed.add(kind)
        self.after_commit(partial(self._memory.outdate, kind))

    def recalled(self, kind: str, key: Hashable, read: Callable[[], T]) -> T:
        """What this process remembers; what this session may have changed itself it reads."""
        return read() if kind in self._changed else super().recalled(kind, key, read)

    def committed(self) -> None:
        """Everything is stored: do what was to be done then."""
        for callback in self._callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - it is logged; the transaction has succeeded whatever a callback does
                _log.exception("A callback after a commit failed.")

    def check(self) -> None:
        """Raise if a statement has failed: nothing of the transaction may be stored then."""
        if self._spoiled is not None:
            raise PenstockError("A statement of this transaction failed: nothing was stored.") from self._spoiled


class Database:
    """The database at a SQLAlchemy URL. Safe to share between threads; not to be carried through a fork.

    Nothing is opened before the first use. Every session raises `Unavailable` if the database cannot answer now and
    `StorageFull` if there is no room; it recovers by itself when the cause is gone.
    """

    def __init__(self, url: str, *, connections: int = 40) -> None:
        self._engine = engine(url, connections, PATIENCE)
        self._path = self._engine.url.database if self._engine.dialect.name == "sqlite" else None
        # SQLite is told how to begin (`_begin`); PostgreSQL, without this, shows each statement another moment.
        of_one_moment = {} if self._path else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._readers = self._engine.execution_options(**of_one_moment)
        self._turns: Turns[Together] | None = Turns() if self._path else None
        self._thread = threading.local()
        self.memory = Memory(alone=self._path is not None)
        """What this process remembers of it."""

        self.wrote: Callable[[float], None] = _unmeasured
        """Told how many seconds each transaction took that wrote, waiting for its turn included."""

        self.closing: Callable[[WriteSession], None] = _nothing
        """Called in each write session before it is committed: what it writes is stored with the rest, or not at all."""

        self.where = self._path or self._engine.url.render_as_string(hide_password=True)
        """The path or the URL without its password, for messages."""

    @property
    def one_writer(self) -> bool:
        """Whether only one writes at a time."""
        return self._turns is not None

    @contextmanager
    def read(self) -> Iterator[ReadSession]:
        """A session for reading; every statement in it sees the same moment."""
        age = self.memory.age  # before it begins: what changes meanwhile is newer
        with self._connected(self._readers) as connection:
            self._begin(connection, "BEGIN")
            yield ReadSession(connection, self.where, self.memory, age)

    @contextmanager
    def write(self) -> Iterator[WriteSession]:
        """A session for writing, committed when the block ends. On SQLite writers take turns, first come first served.

        Elsewhere each statement sees what others have committed before it: read what must stay so with `held`, or leave
        it to a unique key. Two that hold what the other one wants are told apart by a `Collision`: see `do`.

        One at a time in a thread: keep it short, and do nothing slow inside; hold no lock that another writer may want.
        """
        begun = time.perf_counter()
        with self._alone() if self._turns is None else self._together(self._turns) as session:
            yield session
        self.wrote(time.perf_counter() - begun)
        session.committed()

    def do(self, work: Callable[[WriteSession], T]) -> T:
        """What `work` returns, once what it has written in its session is stored. After a `Collision` it is done again."""
        for number in range(TRIES - 1):
            try:
                with self.write() as session:
                    return work(session)
            except Collision as collision:
                _log.debug("again, after a collision: %s", collision)
                time.sleep(random.uniform(0, 0.01 * 2**number))  # noqa: S311  # so that the same two do not meet again
        with self.write() as session:
            return work(session)

    def write_each(self, works: Sequence[Callable[[WriteSession], object]]) -> list[BaseException | None]:
        """Do each of these in a write session of its own; for each, what it has raised. On SQLite they share commits.

        One that fails harms no other.
        """
        if self._turns is None:
            return [self._written(work) for work in works]
        told: list[BaseException | None] = []
        while len(told) < len(works):
            told += self._some(self._turns, works[len(told) :])
        return told

    def migrate(self) -> None:
        """Bring the schema to this version of Penstock. Costs one query if it is there already.

        May be called by several processes at once; one does the work. If it is killed, nothing has changed. Raises
        `PenstockError`, changing nothing, if the database was written by a newer Penstock.
        """
        if self._path is not None:
            create_private(self._path)
        if self._stamp() == schema.HEAD:
            return
        with self._turn(), self._connected() as connection:
            try:
                self._begin_migration(connection)
                schema.upgrade(connection, self.where)
                schema.check_references(connection, self.where)
                connection.commit()
            except SQLAlchemyError as error:
                raise translate(error, self.where) from error
            finally:
                # Its settings are not those of the others: it must not go back to the pool.
                connection.invalidate()

    @contextmanager
    def rehearse(self) -> Iterator[tuple[ReadSession, str | None]]:
        """The database as `migrate` would leave it, for reading, and the version of its schema now. All is taken back.

        Raises what `migrate` raises.
        """
        before = self._stamp()
        with self._turn(), self._connected() as connection:
            try:
                self._begin_migration(connection)
                if before != schema.HEAD:
                    schema.upgrade(connection, self.where)
                    schema.check_references(connection, self.where)
                yield ReadSession(connection, self.where, Memory(alone=False), 0), before
            except SQLAlchemyError as error:
                raise translate(error, self.where) from error
            finally:
                with suppress(SQLAlchemyError):
                    connection.rollback()
                connection.invalidate()

    def is_current(self) -> bool:
        """Whether the schema is that of this release."""
        return self._stamp() == schema.HEAD

    def close(self) -> None:
        """Close every connection that is not in use. The database can be used again afterwards."""
        self._engine.dispose()

    def _stamp(self) -> str | None:
        """The version in the database; None if it has none or could not be asked (the migration will say why)."""
        try:
            with self._engine.connect() as connection:
                return connection.execute(_STAMP).scalar()
        except SQLAlchemyError:
            return None

    @contextmanager
    def _alone(self) -> Iterator[WriteSession]:
        """A transaction of its own, where several write at once."""
        with self._writing(), self._connected() as connection:
            session = WriteSession(connection, self.where, self.memory, self.memory.age)
            yield session
            self.closing(session)
            session.check()
            self._commit(connection)

    @contextmanager
    def _together(self, turns: Turns[Together]) -> Iterator[WriteSession]:
        """A transaction that shares the commit of those that were waiting for their turn."""
        with self._writing():
            shared = self._taken(turns, PATIENCE).left or self._opened(turns)
            try:
                with self._member(shared) as session:
                    yield session
            except BaseException as error:
                self._hand_on(turns, shared, error)
                shared.wait()  # what it was refused for may be something that the others have written
                raise
            self._hand_on(turns, shared)
            shared.wait()

    @contextmanager
    def _member(self, shared: Together) -> Iterator[WriteSession]:
        session = WriteSession(shared.connection, self.where, self.memory, shared.age)
        try:
            shared.join()
            yield session
            self.closing(session)
            session.check()
            shared.keep()
        except BaseException:
            shared.take_back()
            raise

    def _some(
        self, turns: Turns[Together], works: Sequence[Callable[[WriteSession], object]]
    ) -> list[BaseException | None]:
        """Do as many of these as share one commit; for each that was done, what it has raised."""
        told: list[BaseException | None] = []
        sessions = []
        begun = time.perf_counter()
        with self._writing():
            shared = self._taken(turns, PATIENCE).left or self._opened(turns)
            for work in works:
                told.append(None)
                try:
                    with self._member(shared) as session:
                        work(session)
                    sessions.append(session)
                except BaseException as error:  # noqa: BLE001 - it is told
                    told[-1] = error
                if not (shared.alive and shared.open):
                    break
            self._hand_on(turns, shared, told[-1])
            try:
                shared.wait()
            except PenstockError as lost:
                return [lost] * len(told)
        self.wrote(time.perf_counter() - begun)
        for session in sessions:
            session.committed()
        return told

    def _written(self, work: Callable[[WriteSession], object]) -> BaseException | None:
        try:
            self.do(work)
        except BaseException as error:  # noqa: BLE001 - it is told
            return error
        return None

    def _opened(self, turns: Turns[Together]) -> Together:
        connection, age = None, self.memory.age
        try:
            connection = self._connection()
            self._begin(connection, "BEGIN IMMEDIATE")
        except BaseException:
            if connection is not None:
                _close(connection)
            turns.give()
            raise
        return Together(connection, self.where, age)

    def _hand_on(self, turns: Turns[Together], shared: Together, error: BaseException | None = None) -> None:
        """Leave the transaction open for the next in the queue; without one, commit it for all that took part."""
        if shared.alive and shared.open and turns.leave(shared):
            return
        lost: Exception | None = None
        try:
            if shared.alive:
                self._commit(shared.connection)
            elif shared.members:
                lost = Unavailable(f"{self.where} took back what was written. Try again.")
                lost = error if isinstance(error, Unavailable | StorageFull) else lost
        except Exception as failure:  # noqa: BLE001 - each of those that wait for the commit raises it
            lost = failure
        finally:
            if lost is not None:
                self.memory.forget()
            _close(shared.connection)
            shared.end(lost)
            turns.give()

    def _commit(self, connection: Connection) -> None:
        try:
            connection.commit()
        except SQLAlchemyError as error:
            raise translate(error, self.where) from error

    def _connection(self, engine: Engine | None = None) -> Connection:
        try:
            return (engine or self._engine).connect()
        except SQLAlchemyError as error:
            raise translate(error, self.where) from error

    @contextmanager
    def _connected(self, engine: Engine | None = None) -> Iterator[Connection]:
        connection = self._connection(engine)
        try:
            yield connection
        finally:
            _close(connection)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if getattr(self._thread, "writing", False):
            raise RuntimeError("This thread is inside a write session already; pass that one on.")
        self._thread.writing = True
        try:
            yield
        finally:
            self._thread.writing = False

    def _taken(self, turns: Turns[Together], patience: float, *, alone: bool = False) -> Turn[Together]:
        turn = turns.take(patience, alone=alone)
        if turn is None:
            raise Unavailable(f"The database {self.where} is busy. Try again.", headers={"Retry-After": "1"})
        return turn

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The turn of one who wants the database for itself, and may take long."""
        with self._writing():
            if self._turns is None:
                yield
                return
            self._taken(self._turns, MIGRATION_PATIENCE, alone=True)
            try:
                yield
            finally:
                self._turns.give()

    def _begin(self, connection: Connection, sqlite_begin: str) -> None:
        # Other databases begin with the first statement. SQLite must be told whether this is to write: a transaction
        # that began by reading cannot become the writer once somebody else has committed.
        if self._path is None:
            return
        try:
            connection.exec_driver_sql(sqlite_begin)
        except SQLAlchemyError as error:
            raise translate(error, self.where) from error

    def _begin_migration(self, connection: Connection) -> None:
        if self._path is None:
            schema.wait_alone(connection, MIGRATION_PATIENCE)
            return
        # A table is rebuilt by dropping the old one, which must not delete what refers to it.
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(MIGRATION_PATIENCE * 1000)}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _close(connection: Connection) -> None:
    try:
        if not connection.invalidated:
            connection.rollback()
    except SQLAlchemyError:
        connection.invalidate()
    connection.close()


def _nothing(_: WriteSession) -> None:
    """Nobody has anything to add."""


def _unmeasured(_: float) -> None:
    """Nobody wants to know."""
