"""The deliverer against real receivers: bounds, losses of the store, and leaving."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from penstock.control import callbacks, deliverer, runs
from penstock.control.deliverer import PER_HOST, Deliverer
from penstock.errors import Unavailable
from penstock.model.callback import Callback, CallbackState
from penstock.store import callbacks as stored
from penstock.store.paging import Window
from tests.acceptance.site_under_test import eventually
from tests.receivers import receiver
from tests.unit.control.conftest import House


def due(house: House, *urls: str) -> None:
    """A run that has ended, and is to be told to these addresses."""
    run = house.start().run
    with house.here.db.write() as session:
        for url in urls:
            callbacks.register(session, house.here, run, url)
        runs.cancel(session, house.here, run.id)


def all_of(house: House) -> list[Callback]:
    with house.here.db.read() as session:
        return list(stored.page(session, Window(size=200)).items)


def states(house: House) -> set[CallbackState]:
    return {one.state for one in all_of(house)}


@contextmanager
def delivering(house: House) -> Iterator[Deliverer]:
    worker = Deliverer(house.here)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def test_what_is_due_is_delivered_and_counted(daily: House) -> None:
    with receiver() as desk:
        due(daily, *(f"{desk.url}/{number}" for number in range(20)))
        with delivering(daily):
            eventually(lambda: states(daily) == {CallbackState.DELIVERED}, what="all are delivered")
        assert sorted(one.path for one in desk.received) == sorted(f"/{number}" for number in range(20))
    assert b'penstock_callbacks_total{state="delivered"} 20.0' in daily.here.metrics.text()


def test_a_slow_host_has_four_at_a_time_and_holds_up_no_other(daily: House) -> None:
    held, lock, most, inside = threading.Event(), threading.Lock(), 0, 0

    def slow(_: int) -> tuple[int, dict[str, str]]:
        nonlocal most, inside
        with lock:
            inside += 1
            most = max(most, inside)
        held.wait(30)
        with lock:
            inside -= 1
        return 204, {}

    with receiver(slow) as lazy, receiver() as quick:
        due(daily, *(f"{lazy.url}/{number}" for number in range(30)))
        with delivering(daily):
            eventually(lambda: len(lazy.received) == PER_HOST, what="the slow host is called")
            due(daily, *(f"{quick.url.replace('127.0.0.1', 'localhost')}/{number}" for number in range(10)))
            eventually(lambda: len(quick.received) == 10, what="the quick one has all")
            assert len(lazy.received) == PER_HOST
            held.set()
            eventually(lambda: states(daily) == {CallbackState.DELIVERED}, what="all are delivered")
    assert most <= PER_HOST


def test_who_leaves_puts_back_what_was_not_answered(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliverer, "LAST_ANSWERS", 0.1)
    held = threading.Event()

    def once_slow(number: int) -> tuple[int, dict[str, str]]:
        if number == 0:
            held.wait(30)
        return 204, {}

    with receiver(once_slow) as desk:
        due(daily, desk.url)
        with delivering(daily):
            eventually(lambda: desk.received, what="it is being sent")
        held.set()
        [back] = all_of(daily)
        assert (back.state, back.attempts) == (CallbackState.PENDING, 0)
        with delivering(daily):
            eventually(lambda: states(daily) == {CallbackState.DELIVERED}, what="the next one delivers it")
        assert desk.received[0].id == desk.received[1].id


def test_a_store_that_is_away_for_a_while_is_outlasted(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is all that fails here."""
    real, left = stored.next_due, 3

    def away(*arguments: Any, **more: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise Unavailable("away") if left else RuntimeError("a bad row")
        return real(*arguments, **more)

    monkeypatch.setattr(stored, "next_due", away)
    monkeypatch.setattr(deliverer, "POLL", 0.01)
    with receiver() as desk:
        due(daily, desk.url)
        with delivering(daily) as worker:
            eventually(lambda: states(daily) == {CallbackState.DELIVERED}, what="it is delivered")
            assert worker.alive


def test_what_cannot_be_made_is_noted_and_tried_again(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no message")

    monkeypatch.setattr(callbacks, "message", broken)
    with receiver() as desk:
        due(daily, desk.url)
        with delivering(daily):
            eventually(lambda: all_of(daily)[0].problem, what="the try is noted")
        assert "could not send it" in str(all_of(daily)[0].problem)
        assert desk.received == []


def test_the_address_is_looked_at_again_before_each_try(daily: House) -> None:
    with receiver() as desk:
        due(daily, desk.url)
        exposed = House(replace(daily.here, settings=replace(daily.here.settings, host="0.0.0.0")))
        with delivering(exposed):
            eventually(lambda: all_of(daily)[0].problem, what="the try is noted")
        assert "no public address" in str(all_of(daily)[0].problem)
        assert desk.received == []


def test_a_server_that_is_leaving_begins_nothing(daily: House) -> None:
    daily.here.drain()
    with receiver() as desk:
        due(daily, desk.url)
        with delivering(daily) as worker:
            beat = worker.beat
            eventually(lambda: worker.beat > beat, what="it has looked")
        assert desk.received == []
        assert states(daily) == {CallbackState.PENDING}
