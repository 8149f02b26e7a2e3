"""What is older than it is to be kept goes, and nothing else."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from penstock.control import idempotency, retention, runs
from penstock.control.installation import now
from penstock.control.retention import sweep
from penstock.ids import digest_of
from penstock.model.idempotency import IdempotencyKey
from penstock.model.retention import Swept
from penstock.model.run import LogLine
from penstock.store import code, events, logs
from tests.unit.control.conftest import CODE, House

DAY = 24 * 3600.0


def kept(house: House, **settings: float) -> House:
    house.here = replace(house.here, settings=replace(house.here.settings, **settings))
    return house


def ended(house: House, age: float = 0.0) -> str:
    """A run that has ended `age` seconds ago, with output."""
    run = house.start().run
    with house.here.db.write() as session:
        logs.append(session, run.id, [LogLine(at=now(), stream="stdout", text="hello")])
    with house.here.db.write() as session:
        runs.cancel(session, house.here, run.id)
    return run.id


def at(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    moment = now() + timedelta(days=days)

    def later() -> datetime:
        return moment

    monkeypatch.setattr(retention, "now", later)


def test_by_itself_nothing_that_matters_goes(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(daily)
    at(monkeypatch, 10_000)
    swept = sweep(daily.here)
    assert (swept.runs, swept.logs, swept.events, swept.code_archives) == (0, 0, 0, 0)
    assert daily.total() == 1


def test_a_rehearsal_says_what_then_goes(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(daily, keep_runs=3 * DAY, keep_logs=DAY, keep_events=DAY)
    gone, live = ended(daily), daily.start().run.id
    at(monkeypatch, 2)
    expected = Swept(
        runs=0, logs=1, events=1, decisions=0, idempotency_keys=0, callbacks=0, code_archives=0, dry_run=True
    )
    assert sweep(daily.here, dry_run=True) == expected
    with daily.here.db.read() as session:
        assert logs.after(session, gone, 0)[0]
    assert sweep(daily.here) == replace(expected, dry_run=False)
    with daily.here.db.read() as session:
        assert not logs.after(session, gone, 0)[0]
        assert not list(events.after(session, gone, 0, 10))
        assert list(events.after(session, live, 0, 10))
    assert sweep(daily.here) == replace(expected, logs=0, events=0, dry_run=False)
    at(monkeypatch, 4)
    assert sweep(daily.here, dry_run=True).runs == 1
    assert sweep(daily.here).runs == 1
    assert daily.total() == 1
    assert daily.run(live).state == "queued"


def test_a_run_whose_key_is_good_stays(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(daily, keep_runs=DAY)
    for until in (10 * DAY, "terminal"):
        once = idempotency.Once(key=IdempotencyKey(key=str(until), until=until), fingerprint="f")  # type: ignore[arg-type]
        run = daily.start(once=once).run
        with daily.here.db.write() as session:
            runs.cancel(session, daily.here, run.id)
    at(monkeypatch, 2)
    swept = sweep(daily.here)
    assert daily.total() == 2 - swept.runs
    at(monkeypatch, 12)
    sweep(daily.here)
    sweep(daily.here)
    assert daily.total() == 0


def test_code_goes_that_no_snapshot_has_with_its_file(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"another archive"
    size = code.keep(daily.here.code_directory, digest_of(data), data)
    with daily.here.db.write() as session:
        code.record(session, digest_of(data), size, now())
    at(monkeypatch, 1)
    assert sweep(daily.here).code_archives == 0
    at(monkeypatch, 8)
    assert sweep(daily.here, dry_run=True).code_archives == 1
    assert sweep(daily.here).code_archives == 1
    assert not code.path(daily.here.code_directory, digest_of(data)).exists()
    assert code.path(daily.here.code_directory, digest_of(CODE)).exists()


def test_of_two_servers_one_sweeps(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(daily, keep_runs=DAY)
    for _ in range(3):
        ended(daily)
    at(monkeypatch, 2)
    other = replace(daily.here, owner="server:2")
    assert sweep(daily.here).runs == 3
    ended(daily)
    at(monkeypatch, 4)
    monkeypatch.setattr(retention, "LEASE", timedelta(days=1))
    assert sweep(other).runs == 1
    ended(daily)
    at(monkeypatch, 4.5)
    kept(daily, keep_runs=1.0)
    assert sweep(daily.here).runs == 0
    assert sweep(replace(daily.here, owner="server:2")).runs == 1


def test_many_go_in_small_portions_while_others_write(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for all of it, and the table is as small afterwards as what is young in it."""
    kept(daily, keep_runs=DAY)
    monkeypatch.setattr(retention, "RUNS_AT_ONCE", 10)
    for _ in range(100):
        ended(daily)
    at(monkeypatch, 2)
    started: list[str] = []
    portions: list[int] = []
    remove = retention.retention.remove_runs
    monkeypatch.setattr(
        retention.retention,
        "remove_runs",
        lambda ws, ids: portions.append(len(ids)) or remove(ws, ids),  # type: ignore[func-returns-value]
    )
    writer = threading.Thread(target=lambda: started.extend(daily.start().run.id for _ in range(10)))
    writer.start()
    assert sweep(daily.here).runs == 100
    writer.join()
    assert max(portions) == 10
    assert daily.total() == len(started) == 10


def test_a_server_that_is_leaving_stops_sweeping(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(daily, keep_runs=DAY)
    ended(daily)
    at(monkeypatch, 2)
    daily.here.drain()
    assert sweep(daily.here).runs == 0
