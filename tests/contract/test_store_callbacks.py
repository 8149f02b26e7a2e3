"""Callbacks in every database: made due by the statement that writes an end, and taken by one at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from penstock.errors import Conflict, NotFound
from penstock.ids import new_id
from penstock.model.callback import Callback, CallbackState
from penstock.model.run import TERMINAL, Run, RunState
from penstock.store import callbacks, runs
from penstock.store.paging import Window
from penstock.store.session import Database, WriteSession
from tests.contract.test_store_races import at_once
from tests.unit.store.samples import AT, a_run, frozen, later


def a_callback(run: Run, url: str = "http://a/x", **changes: object) -> Callback:
    return replace(Callback(id=new_id(), run_id=run.id, url=url, created=AT), **changes)  # type: ignore[arg-type]


def told(ws: WriteSession, *urls: str, **changes: object) -> Run:
    """A run in the store that tells these addresses of its end."""
    run = a_run(frozen(ws))
    runs.insert(ws, run)
    for url in urls:
        callbacks.insert(ws, a_callback(run, url, **changes))
    return run


def due(ws: WriteSession, *urls: str) -> Run:
    return told(ws, *urls, state=CallbackState.PENDING, next_try=AT)


def test_it_comes_back_as_it_was(db: Database) -> None:
    with db.write() as ws:
        run = told(ws)
        kept = a_callback(run, state=CallbackState.DEAD, attempts=7, status=500, problem="a\x00b", tried=AT, ended=AT)
        callbacks.insert(ws, kept)
    with db.read() as rs:
        assert callbacks.get(rs, kept.id) == callbacks.find(rs, run.id, kept.url) == kept
        assert callbacks.page(rs, Window(), run_id=run.id, state=CallbackState.DEAD).items == (kept,)
        assert callbacks.page(rs, Window(), state=CallbackState.WAITING).total == 0
        assert callbacks.count(rs, run.id) == 1
        with pytest.raises(NotFound):
            callbacks.get(rs, new_id())


def test_one_address_is_told_once_of_one_run(db: Database) -> None:
    with db.write() as ws:
        run = told(ws, "http://a/x")
    with pytest.raises(Conflict), db.write() as ws:
        callbacks.insert(ws, a_callback(run, "http://a/x"))


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_whatever_ends_a_run_makes_it_due_in_the_same_transaction(db: Database, state: RunState) -> None:
    with db.write() as ws:
        run = told(ws, "http://a/x", "http://b/y")
        other = told(ws, "http://a/x")
    ended = replace(run, state=state, ended=later(5))

    def lost() -> None:
        with db.write() as ws:
            assert runs.save(ws, ended)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        lost()
    with db.read() as rs:
        assert not callbacks.has_open(rs)
    with db.write() as ws:
        assert runs.save(ws, ended)
    with db.read() as rs:
        found = callbacks.page(rs, Window(), run_id=run.id).items
        assert [(one.state, one.next_try) for one in found] == [(CallbackState.PENDING, later(5))] * 2
        assert callbacks.page(rs, Window(), run_id=other.id).items[0].state is CallbackState.WAITING
        assert callbacks.next_due(rs) == later(5)


def test_what_is_no_end_or_was_not_written_makes_nothing_due(db: Database) -> None:
    with db.write() as ws:
        run = told(ws, "http://a/x")
        runs.save(ws, replace(run, state=RunState.CANCELLING))
        assert not runs.save(ws, replace(run, state=RunState.COMPLETED, fence=7))
    with db.read() as rs:
        assert not callbacks.has_open(rs)


def test_the_one_that_waits_longest_is_taken_and_hosts_that_are_busy_are_passed_over(db: Database) -> None:
    with db.write() as ws:
        told(ws, "http://a/late", state=CallbackState.PENDING, next_try=later(2))
        told(ws, "http://a/early", state=CallbackState.PENDING, next_try=later(1))
        told(ws, "http://b/", state=CallbackState.PENDING, next_try=later(3))
        assert callbacks.claim(ws, AT, later(60)) is None
        first = callbacks.claim(ws, later(5), later(60))
        assert first is not None
        assert (first.url, first.state, first.attempts) == ("http://a/early", CallbackState.SENDING, 1)
        assert callbacks.next_due(ws, busy=["a"]) == later(3)
        second = callbacks.claim(ws, later(5), later(60), busy=["a"])
        assert second is not None
        assert second.url == "http://b/"
        assert callbacks.claim(ws, later(5), later(60), busy=["a", "b"]) is None


def test_what_was_taken_by_a_server_that_is_lost_is_taken_again(db: Database) -> None:
    with db.write() as ws:
        due(ws, "http://a/")
        lost = callbacks.claim(ws, later(1), later(30))
        assert lost is not None
        assert callbacks.claim(ws, later(29), later(60)) is None
        again = callbacks.claim(ws, later(31), later(60))
        assert again is not None
        assert (again.id, again.attempts) == (lost.id, 2)
        assert not callbacks.save(
            ws, lost, replace(lost, state=CallbackState.DELIVERED)
        )  # what the lost one says later
        assert callbacks.save(ws, again, replace(again, state=CallbackState.DELIVERED, next_try=None))
        assert not callbacks.has_open(ws)


def test_many_who_take_at_once_never_take_the_same(db: Database) -> None:
    with db.write() as ws:
        due(ws, *(f"http://h{number}/" for number in range(24)))

    def take(_: int) -> list[str]:
        taken = []
        while True:
            with db.write() as ws:
                one = callbacks.claim(ws, later(1), later(60))
            if one is None:
                return taken
            taken.append(one.id)

    counts = Counter(name for part in at_once(6, take) for name in part)
    assert (len(counts), set(counts.values())) == (24, {1})


def test_what_has_come_to_an_end_is_forgotten_and_nothing_else(db: Database) -> None:
    with db.write() as ws:
        old = told(ws, "http://old/", state=CallbackState.DELIVERED, ended=AT)
        told(ws, "http://new/", state=CallbackState.DEAD, ended=later(10))
        due(ws, "http://due/")
        told(ws, "http://waiting/")
        assert callbacks.purge(ws, later(5)) == 1
        assert callbacks.purge(ws, later(5)) == 0
        assert callbacks.count(ws, old.id) == 0
        assert callbacks.page(ws, Window()).total == 3


def test_purging_takes_some_at_a_time(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "_BATCH", 3)
    with db.write() as ws:
        for second in range(10):
            told(ws, "http://a/", state=CallbackState.DELIVERED, ended=later(second))
        taken = []
        while many := callbacks.purge(ws, later(60)):
            taken.append(many)
    assert sum(taken) == 10
    assert max(taken) <= 4


def test_with_a_run_go_its_callbacks(db: Database) -> None:
    with db.write() as ws:
        run = due(ws, "http://a/")
        runs.remove(ws, run.id)
        assert callbacks.page(ws, Window()).total == 0


def test_rotations_are_kept_newest_first(db: Database) -> None:
    with db.write() as ws:
        made = [callbacks.Rotation(id=new_id(), created=AT, previous_until=later(n) if n else None) for n in range(3)]
        for one in made:
            callbacks.rotate(ws, one)
        assert callbacks.rotated(ws) == made[::-1]
        callbacks.forget_rotations(ws, made[1].id)
        assert callbacks.rotated(ws) == made[:0:-1]
