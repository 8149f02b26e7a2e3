"""What is old enough to go, and who is to see to it: the same on every database."""

from __future__ import annotations

from datetime import datetime, timedelta

from penstock.store import duties
from penstock.store.session import Database
from tests.unit.store.samples import AT


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def take(db: Database, owner: str, at: float, until: float) -> bool:
    with db.write() as ws:
        return duties.take(ws, "sweep", owner, later(at), later(until))


def test_one_at_a_time_has_a_duty_and_another_gets_it_when_the_time_is_up(db: Database) -> None:
    assert take(db, "a", 0, 10)
    assert not take(db, "b", 5, 15)
    assert take(db, "a", 8, 18)
    assert not take(db, "b", 17, 27)
    assert take(db, "b", 18, 28)
    assert not take(db, "a", 20, 30)
