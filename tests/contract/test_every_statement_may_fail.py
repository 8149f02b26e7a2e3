"""A trigger, with each of its statements failing in turn: all of it is stored or nothing, and the next one works."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import Any, Self

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from penstock.errors import Unavailable
from penstock.store import runs
from penstock.store.paging import Window
from penstock.store.session import Database
from tests.contract.test_use_cases_at_once import daily, once, start  # noqa: F401  (a fixture)
from tests.unit.control.conftest import House


class Stumble:
    """Has the statement with this number fail as a database does that goes away; the others are not touched."""

    def __init__(self, db: Database, number: int) -> None:
        self._db, self._left = db, number
        self.stumbled = False

    def __enter__(self) -> Self:
        event.listen(self._db._engine, "before_cursor_execute", self._meet)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._db._engine, "before_cursor_execute", self._meet)

    def _meet(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        self._left -= 1
        if self._left == 0:
            self.stumbled = True
            raise OperationalError(statement, {}, Exception("disk I/O error"))


def stored(house: House) -> int:
    with house.here.db.read() as rs:
        return runs.page(rs, Window(size=200), runs.RunFilter()).total or 0


def test_all_or_nothing_whichever_fails(daily: House) -> None:  # noqa: F811  (it is the fixture)
    for number in count(1):
        before = stored(daily)
        with Stumble(daily.here.db, number) as stumble, suppress(Unavailable):
            start(daily, once=once(f"k{number}"))
        assert stored(daily) - before == (0 if stumble.stumbled else 1), f"statement {number}"
        assert len({one.run.id for one in (start(daily, once=once(f"k{number}")) for _ in range(2))}) == 1
        if not stumble.stumbled:
            break
    assert number > 5  # it was a transaction of several statements
