"""Transactions that wait for one another share a commit: what each of them may rely on all the same."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy.exc
from sqlalchemy import event

from penstock.errors import PenstockError, Unavailable
from penstock.store import pipelines, together
from penstock.store.paging import Window
from penstock.store.session import Database, WriteSession
from tests.unit.store.samples import AT


def count(db: Database) -> int:
    with db.read() as rs:
        return pipelines.page(rs, Window()).total


class Crowd:
    """Threads that write one after the other, and all wait until the first one's transaction, opened here, ends."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.commits = 0
        self.told: dict[str, BaseException | None] = {}
        self._threads: list[threading.Thread] = []
        event.listen(db._engine, "commit", self._count)

    def _count(self, _: object) -> None:
        self.commits += 1

    def add(self, name: str, work: Callable[[WriteSession], object]) -> None:
        """Have this done by a thread of its own, which has its place in the queue when this returns."""

        def run() -> None:
            try:
                with self.db.write() as ws:
                    work(ws)
                self.told[name] = None
            except BaseException as error:
                self.told[name] = error

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        assert self.db._turns is not None
        while len(self.db._turns._waiting) < len(self._threads):
            time.sleep(0.001)  # poll: another thread has to get there

    def ended(self) -> dict[str, BaseException | None]:
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        return self.told


def named(name: str) -> Callable[[WriteSession], object]:
    return lambda ws: pipelines.get_or_create(ws, name, AT)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the threads of a test take, they are in time to join."""
    monkeypatch.setattr(together, "LONGEST", 60.0)


@pytest.mark.usefixtures("slow")
class TestTogether:
    def test_those_who_wait_share_a_commit(self, db: Database) -> None:
        crowd = Crowd(db)
        with db.write() as ws:
            named("first")(ws)
            for number in range(5):
                crowd.add(f"p{number}", named(f"p{number}"))
        assert crowd.ended() == dict.fromkeys(("p0", "p1", "p2", "p3", "p4"))
        assert crowd.commits == 1
        assert count(db) == 6

    def test_who_fails_takes_back_its_own_only(self, db: Database) -> None:
        def fail(ws: WriteSession) -> None:
            named("lost")(ws)
            raise KeyError("on purpose")

        with pytest.raises(KeyError), db.write() as ws:
            fail(ws)
        crowd = Crowd(db)
        with db.write() as ws:
            named("first")(ws)
            for name, work in (("a", named("a")), ("bad", fail), ("b", named("b")), ("last", fail)):
                crowd.add(name, work)
        told = crowd.ended()
        assert {name: type(error) for name, error in told.items() if error} == {"bad": KeyError, "last": KeyError}
        assert crowd.commits == 1
        with db.read() as rs:
            assert sorted(one.name for one in pipelines.page(rs, Window()).items) == ["a", "b", "first"]

    def test_a_failed_first_one_harms_nobody(self, db: Database) -> None:
        crowd = Crowd(db)

        def fail() -> None:
            with db.write() as ws:
                named("lost")(ws)
                crowd.add("a", named("a"))
                raise KeyError("on purpose")

        with pytest.raises(KeyError):
            fail()
        assert crowd.ended() == {"a": None}
        assert count(db) == 1

    def test_a_commit_that_fails_is_told_to_all(self, db: Database) -> None:
        def refuse(_: object) -> None:
            event.remove(db._engine, "commit", refuse)
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

        crowd = Crowd(db)
        event.listen(db._engine, "commit", refuse)

        def lead() -> None:
            with db.write() as ws:
                named("first")(ws)
                crowd.add("a", named("a"))
                crowd.add("b", named("b"))

        with pytest.raises(Unavailable):
            lead()
        assert {name: type(error) for name, error in crowd.ended().items()} == {"a": Unavailable, "b": Unavailable}
        assert count(db) == 0
        with db.write() as ws:
            named("again")(ws)
        assert count(db) == 1

    def test_an_error_that_takes_everything_back_is_told_to_all(self, db: Database) -> None:
        def spoil(ws: WriteSession) -> None:
            ws._connection.exec_driver_sql("ROLLBACK")  # as SQLite itself does after some errors

        crowd = Crowd(db)

        def lead() -> None:
            with db.write() as ws:
                named("first")(ws)
                crowd.add("spoils", spoil)

        with pytest.raises(Unavailable):
            lead()
        assert isinstance(crowd.ended()["spoils"], PenstockError)
        assert count(db) == 0

    def test_not_more_than_so_many(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(together, "MOST", 2)
        crowd = Crowd(db)
        with db.write():
            for number in range(5):
                crowd.add(f"p{number}", named(f"p{number}"))
        crowd.ended()
        assert crowd.commits == 3
        assert count(db) == 5


def fail(ws: WriteSession) -> None:
    named("lost")(ws)
    raise KeyError("on purpose")


class TestEach:
    def test_they_share_a_commit_and_who_fails_harms_no_other(self, db: Database) -> None:
        crowd, called = Crowd(db), []
        works = [named("a"), fail, lambda ws: ws.after_commit(lambda: called.append(crowd.commits)), named("b"), fail]
        told = db.write_each(works)
        assert [type(error) for error in told] == [type(None), KeyError, type(None), type(None), KeyError]
        assert (crowd.commits, called) == (1, [1])
        assert count(db) == 2

    def test_all_are_done_even_if_the_first_takes_its_transaction_back(self, db: Database) -> None:
        told = db.write_each([fail, fail, named("a")])
        assert [type(error) for error in told] == [KeyError, KeyError, type(None)]
        assert count(db) == 1

    def test_not_more_than_so_many_share_one(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(together, "MOST", 2)
        crowd = Crowd(db)
        assert db.write_each([named(f"p{number}") for number in range(5)]) == [None] * 5
        assert crowd.commits == 3
        assert count(db) == 5

    def test_a_commit_that_fails_is_told_to_all(self, db: Database) -> None:
        def refuse(_: object) -> None:
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

        event.listen(db._engine, "commit", refuse)
        told = db.write_each([named("a"), fail, named("b")])
        assert [type(error) for error in told] == [Unavailable] * 3
        event.remove(db._engine, "commit", refuse)
        assert count(db) == 0
