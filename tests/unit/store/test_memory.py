"""What the process remembers is never older than what the session that asks could read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from penstock.errors import Unavailable
from penstock.store import pipelines
from penstock.store.memory import Memory
from penstock.store.paging import Window
from penstock.store.session import Database, ReadSession, WriteSession
from tests.unit.store.samples import AT


def names(session: ReadSession) -> str:
    """What is remembered here: the names of all pipelines."""
    return session.recalled(
        "names", "all", lambda: " ".join(one.name for one in pipelines.page(session, Window()).items)
    )


def add(session: WriteSession, name: str) -> None:
    pipelines.get_or_create(session, name, AT)
    session.outdate("names")


def test_it_is_read_once_and_again_after_a_change(db: Database) -> None:
    read: list[str] = []

    def look() -> str:
        def find() -> str:
            read.append("")
            return "found"

        with db.read() as session:
            return session.recalled("names", "all", find)

    assert (look(), look(), len(read)) == ("found", "found", 1)
    with db.write() as session:
        session.outdate("other")
    assert (look(), len(read)) == ("found", 1)
    with db.write() as session:
        session.outdate("names")
    assert (look(), len(read)) == ("found", 2)


def test_a_session_sees_what_it_has_changed_itself(db: Database) -> None:
    with db.write() as session:
        add(session, "a")
        assert names(session) == "a"
        add(session, "b")
        assert names(session) == "b a"
    with db.read() as session:
        assert names(session) == "b a"


def test_what_was_given_up_is_not_remembered(db: Database) -> None:
    def give_up() -> None:
        with db.write() as session:
            add(session, "lost")
            assert names(session) == "lost"
            raise KeyError

    with pytest.raises(KeyError):
        give_up()
    with db.read() as session:
        assert names(session) == ""


def test_a_view_that_is_older_than_a_change_does_not_outlive_it(db: Database) -> None:
    with db.read() as old:
        assert pipelines.page(old, Window()).total == 0  # from here on it sees this moment
        with db.write() as session:
            add(session, "new")
        assert names(old) == ""
    with db.read() as session:
        assert names(session) == "new"


def test_what_others_of_a_failed_commit_have_read_is_forgotten(db: Database) -> None:
    def refuse(_: object) -> None:
        raise sqlalchemy.exc.OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    seen: list[str] = []
    event.listen(db._engine, "commit", refuse)
    works: list[Callable[[WriteSession], object]] = [lambda ws: add(ws, "a"), lambda ws: seen.append(names(ws))]
    assert [type(error) for error in db.write_each(works)] == [Unavailable] * 2
    event.remove(db._engine, "commit", refuse)
    assert seen == ["a"]
    with db.read() as session:
        assert names(session) == ""


def test_where_others_write_too_nothing_is_remembered() -> None:
    memory = Memory(alone=False)
    memory.keep("kind", "key", "value", memory.age)
    assert memory.known("kind", "key") is None


@given(st.lists(st.sampled_from(["keep", "outdate", "forget", "amend"]), max_size=20))
def test_nothing_survives_a_change(deeds: list[str]) -> None:
    memory, true = Memory(alone=True), None
    for number, deed in enumerate(deeds):
        if deed == "keep":
            memory.keep("kind", "key", number, memory.age)
            true = number
        elif deed == "amend":
            memory.amend("kind", "key", number)
            true = number if true is not None else None
        else:
            memory.outdate("kind") if deed == "outdate" else memory.forget()
            true = None
        assert memory.known("kind", "key") == true
