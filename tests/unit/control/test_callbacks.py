"""Who is told of a run, and with which secrets."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from penstock.control import callbacks, outbound, runs
from penstock.control.installation import now
from penstock.errors import Conflict, InvalidInput, NotFound
from penstock.model.callback import MOST, Callback, CallbackState
from penstock.model.run import RunState
from penstock.store import callbacks as stored
from penstock.store.paging import Window
from tests.unit.control.conftest import House

URL = "http://127.0.0.1:9/x"


def of(house: House, run_id: str) -> list[Callback]:
    with house.here.db.read() as session:
        return list(stored.page(session, Window(), run_id=run_id).items)


def cancelled(house: House, run_id: str) -> None:
    with house.here.db.write() as session:
        runs.cancel(session, house.here, run_id)


def test_a_start_registers_it_and_the_end_makes_it_due(daily: House) -> None:
    run = daily.start(callback=URL).run
    [waiting] = of(daily, run.id)
    assert (waiting.url, waiting.state, waiting.next_try) == (URL, CallbackState.WAITING, None)
    cancelled(daily, run.id)
    [due] = of(daily, run.id)
    assert (due.id, due.state) == (waiting.id, CallbackState.PENDING)


def test_an_end_rings_once_it_is_stored(daily: House) -> None:
    run = daily.start(callback=URL).run
    with daily.here.bell.subscribe("ended") as rung:
        cancelled(daily, run.id)
        assert rung.wait(5)


def test_a_run_that_is_refused_tells_nobody(daily: House) -> None:
    with pytest.raises(InvalidInput):
        daily.start(depth="deep", callback=URL)
    with daily.here.db.read() as session:
        assert stored.page(session, Window()).total == 0


def test_one_run_tells_so_many_and_no_more(daily: House) -> None:
    run = daily.start().run
    with daily.here.db.write() as session:
        for number in range(MOST):
            callbacks.register(session, daily.here, run, f"{URL}{number}")
        assert callbacks.register(session, daily.here, run, f"{URL}0").url == f"{URL}0"
        with pytest.raises(Conflict, match="no more"):
            callbacks.register(session, daily.here, run, f"{URL}more")


def test_who_comes_after_the_end_is_told_at_once(daily: House) -> None:
    run = daily.start().run
    cancelled(daily, run.id)
    with daily.here.db.write() as session:
        late = callbacks.register(session, daily.here, daily.run(run.id), URL)
    assert late.state is CallbackState.PENDING


def test_what_is_sent_is_the_run_as_it_is_shown(daily: House) -> None:
    run = daily.start(callback=URL).run
    cancelled(daily, run.id)
    [due] = of(daily, run.id)
    with daily.here.db.read() as session:
        body, headers = callbacks.message(session, daily.here, due)
    told = msgspec.json.decode(body)
    ended = daily.run(run.id)
    assert (told["type"], told["data"]) == ("run.cancelled", msgspec.json.decode(msgspec.json.encode(ended)))
    assert headers["webhook-id"] == due.id
    with daily.here.db.write() as session:
        runs.delete(session, run.id)
    with daily.here.db.read() as session, pytest.raises(NotFound):
        callbacks.message(session, daily.here, due)


def test_sending_again_begins_anew_and_only_after_an_end(daily: House) -> None:
    run = daily.start(callback=URL).run
    [waiting] = of(daily, run.id)
    cancelled(daily, run.id)
    with daily.here.db.write() as session:
        sending = stored.claim(session, now(), now() + timedelta(seconds=60))
        assert sending is not None
        with pytest.raises(Conflict, match="right now"):
            callbacks.redeliver(session, daily.here, waiting.id)
        dead = replace(sending, state=CallbackState.DEAD, attempts=7, next_try=None, ended=now(), status=500)
        stored.save(session, sending, dead)
    with daily.here.db.write() as session:
        again = callbacks.redeliver(session, daily.here, waiting.id)
    assert (again.id, again.state, again.attempts, again.ended) == (waiting.id, CallbackState.PENDING, 0, None)
    assert of(daily, run.id) == [again]
    fresh = daily.start(callback=URL).run
    with daily.here.db.write() as session, pytest.raises(Conflict, match="has not ended"):
        callbacks.redeliver(session, daily.here, of(daily, fresh.id)[0].id)


def rotate(house: House, retain: float) -> str:
    with house.here.db.write() as session:
        return callbacks.rotate(session, house.here, retain=timedelta(seconds=retain)).secret


def signing(house: House) -> list[str]:
    with house.here.db.read() as session:
        return callbacks.signing(session, house.here)


def test_secrets_are_exchanged_with_and_without_a_time_for_both(house: House) -> None:
    [first] = signing(house)
    second = rotate(house, 60)
    assert signing(house) == [second, first]
    third = rotate(house, 60)
    assert signing(house) == [third, second, first]
    fourth = rotate(house, 0)
    assert signing(house) == [fourth]
    fifth = rotate(house, 60)
    assert signing(house) == [fifth, fourth]
    with house.here.db.read() as session:
        assert len(stored.rotated(session)) == 2
        shown = callbacks.secret(session, house.here)
    assert (shown.secret, shown.previous_until is not None) == (fifth, True)
    assert len({first, second, third, fourth, fifth}) == 5


def test_the_secret_is_not_in_the_database(house: House) -> None:
    secret = rotate(house, 0).removeprefix("whsec_")
    assert not any(secret.encode() in path.read_bytes() for path in house.here.settings.home.glob("penstock.db*"))


def test_the_server_of_names_may_be_away_but_a_name_that_is_none_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name server is all that is made up here."""

    def answering(error: int) -> Any:
        def answer(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(error, "told so")

        return answer

    monkeypatch.setattr(socket, "getaddrinfo", answering(socket.EAI_AGAIN))
    assert callbacks.accepted(house.here, "http://a.example/") == "http://a.example/"
    monkeypatch.setattr(socket, "getaddrinfo", answering(socket.EAI_NONAME))
    with pytest.raises(InvalidInput, match="cannot be found"):
        callbacks.accepted(house.here, "http://a.example/")


def test_a_slow_server_of_names_is_asked_again_later(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "_PATIENCE", 0.05)
    monkeypatch.setattr(outbound, "_LOOKUPS", _Full())
    assert callbacks.accepted(house.here, "http://a.example/") == "http://a.example/"


class _Full:
    """All lookups are under way."""

    def acquire(self, timeout: float) -> bool:
        return False


def test_a_cancelled_queue_and_a_joined_run_are_told(daily: House) -> None:
    run = daily.start(callback=URL).run
    assert run.state is RunState.QUEUED
    cancelled(daily, run.id)
    assert [one.state for one in of(daily, run.id)] == [CallbackState.PENDING]
