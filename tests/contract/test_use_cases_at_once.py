"""Use-cases that meet one another: where several servers write at once, each promise holds as it does where one does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.control import audit, journal, runs, stacks, templates
from penstock.control.bell import Bell
from penstock.control.dispatcher import Dispatcher
from penstock.control.idempotency import Once
from penstock.control.installation import Installation, now
from penstock.control.reaper import Reaper
from penstock.control.targets import Target
from penstock.control.tender import Tender
from penstock.control.tokens import Signer
from penstock.errors import AlreadyRunning, Conflict, PenstockError, StaleFence, TooManyRequests
from penstock.ids import digest_of
from penstock.model.audit import Entry
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.idempotency import IdempotencyKey
from penstock.model.launch import Exit, Held, Report
from penstock.model.limits import Debounce, Limits, Rate
from penstock.model.run import Batch, Cause, Event, RunState
from penstock.model.terms import Terms
from penstock.settings import Settings
from penstock.store import code, events
from penstock.store import runs as stored
from penstock.store.failures import Collision
from penstock.store.paging import Window
from penstock.store.runs import RunFilter
from penstock.store.session import Database, WriteSession
from tests import postgres
from tests.contract.test_store_races import at_once
from tests.unit.control.conftest import CODE, House
from tests.unit.store.samples import a_run, frozen

THREADS = 12


def server(db: Database, home: Path, name: str = "one", key: bytes = b"0" * 48) -> Installation:
    """One of the servers on the database, in a home of its own."""
    return Installation(
        settings=Settings(home=home / name, shared=str(home / "shared"), lease=2.0, parallel_runs=3),
        db=db,
        bell=Bell(),
        signer=Signer(key),
        address=f"unix:{home}/server.sock",
        owner=f"server:{name}@{name}",
        place=f"@{name}",
        started=now(),
    )


@pytest.fixture
def daily(db: Database, tmp_path: Path) -> House:
    return furnished(server(db, tmp_path))


def furnished(here: Installation) -> House:
    """A house with the template `daily`."""
    house = House(here)
    size = code.keep(here.code_directory, digest_of(CODE), CODE)
    with here.db.write() as ws:
        stacks.ensure_default(ws, here)
        code.record(ws, digest_of(CODE), size, now())
    house.template("daily")
    return house


def start(house: House, depth: int = 1, once: Once | None = None) -> runs.Started:
    said = PipelineRunConfiguration(parameters={"depth": depth})
    options = runs.Options(once=once)
    return house.here.db.do(
        lambda ws: runs.start(ws, house.here, Target(template="daily"), said, options, Cause(account="ci"))
    )


def tried(work: Callable[[], runs.Started]) -> runs.Started | PenstockError:
    try:
        return work()
    except (TooManyRequests, AlreadyRunning) as error:
        return error


def limit(house: House, limits: Limits) -> None:
    with house.here.db.write() as ws:
        templates.set_terms(ws, "daily", Terms(limits=limits))


def states(house: House) -> list[RunState]:
    with house.here.db.read() as rs:
        return [run.state for run in stored.page(rs, Window(size=200), RunFilter()).items]


def once(key: str, **said: object) -> Once:
    return Once(key=IdempotencyKey(key=key, **said), fingerprint="f" * 64)  # type: ignore[arg-type]


@pytest.mark.parametrize("until", [None, "terminal"])
def test_one_key_gives_one_run_and_everybody_that_run(daily: House, until: str | None) -> None:
    for number in range(3):
        started = at_once(THREADS, lambda _, key=f"k{number}": start(daily, once=once(key, until=until)))
        assert len({one.run.id for one in started}) == 1
        assert [one.replayed for one in started].count(False) == 1
    assert len(states(daily)) == 3


def test_of_those_who_replace_each_other_one_is_left(daily: House) -> None:
    started = at_once(THREADS, lambda _: start(daily, once=once("k", on_conflict="replace")))
    assert len({one.run.id for one in started}) == THREADS
    assert sorted(states(daily)) == [RunState.CANCELLED] * (THREADS - 1) + [RunState.QUEUED]


def test_limits_let_in_as_many_as_they_say(daily: House) -> None:
    limit(daily, Limits(queue=5))
    told = at_once(THREADS, lambda _: tried(lambda: start(daily)))
    assert sum(isinstance(one, runs.Started) for one in told) == 5
    limit(daily, Limits(rate=Rate(limit=8, per=600)))
    told = at_once(THREADS, lambda _: tried(lambda: start(daily)))
    assert sum(isinstance(one, runs.Started) for one in told) == 3
    assert len(states(daily)) == 8  # what was refused has left nothing


def test_a_singleton_is_one_and_others_join_it(daily: House) -> None:
    limit(daily, Limits(singleton="join"))
    told = at_once(THREADS, lambda number: tried(lambda: start(daily, depth=1 + number % 2)))
    joined = [one for one in told if isinstance(one, runs.Started)]
    assert len({one.run.id for one in joined}) == 1
    assert len(joined) == THREADS / 2
    assert len(states(daily)) == 1


def test_the_last_of_many_is_left_where_they_outdo_each_other(daily: House) -> None:
    limit(daily, Limits(debounce=Debounce(delay=60)))
    at_once(THREADS, lambda _: start(daily))
    assert sorted(states(daily)) == [RunState.CANCELLED] * (THREADS - 1) + [RunState.QUEUED]


def test_each_home_fills_its_own_slots_and_a_limit_holds_for_all(daily: House, tmp_path: Path) -> None:
    for _ in range(20):
        start(daily)
    servers = [server(daily.here.db, tmp_path, name) for name in ("one", "two", "three")]
    dispatchers = [Dispatcher(here, _no_launcher) for here in servers]

    def claim(number: int) -> int:
        return len(dispatchers[number]._claim())

    assert at_once(3, claim) == [3, 3, 3]  # parallel_runs is of each machine
    assert at_once(3, claim) == [0, 0, 0]
    limit(daily, Limits(concurrency=11))
    for here in servers:
        object.__setattr__(here, "settings", replace(here.settings, parallel_runs=8))
    assert sum(at_once(3, claim)) == 2
    assert sum(at_once(3, claim)) == 0


def _no_launcher(_: object) -> object:
    raise AssertionError("nothing is launched here")


def test_every_end_is_one_end_whoever_comes_with_it(daily: House) -> None:
    """A worker reports the end, its supervisor tells of its exit, a reaper misses it, somebody cancels it: all at once."""
    db, here = daily.here.db, daily.here
    for _ in range(6):
        run = start(daily).run
        lapsed = now() - timedelta(seconds=60)
        with db.write() as ws:
            (claimed,) = stored.claim(ws, "server:1", 1, lapsed, at=now())
            began = Batch(fence=claimed.fence, events=(Event(seq=1, at=now(), type="run_started"),))
            journal.report(ws, here, run.id, began)
            stored.save(ws, replace(stored.get(ws, run.id), lease_expires=lapsed))
        last = Event(seq=2, at=now(), type="run_completed", outputs={})
        exit = Exit(run_id=run.id, fence=claimed.fence, status=0, failure="exited")

        with db.read() as rs:
            seen = stored.get(rs, run.id)

        def works(ws: WriteSession, number: int, run_id: str = run.id, fence: int = claimed.fence) -> None:
            if number % 4 == 0:
                journal.report(ws, here, run_id, Batch(fence=fence, events=(last,)))  # noqa: B023
            elif number % 4 == 1:
                journal.supervise(ws, here, Report(owner="s", held=(Held(run_id=run_id, fence=fence),), exits=(exit,)))  # noqa: B023
            elif number % 4 == 2:
                Reaper(here)._treat(seen, ws)  # noqa: B023
            else:
                runs.cancel_with_children(ws, here, run_id)

        def meddle(number: int, works: Callable[[WriteSession, int], None] = works) -> None:
            with suppress(StaleFence, Conflict):
                db.do(lambda ws: works(ws, number))

        at_once(8, meddle)
        ended = daily.run(run.id)
        assert ended.state.terminal
        with db.read() as rs:
            told = [entry.type for entry in events.after(rs, run.id, 0)]
        ends = [one for one in told if one in ("run_completed", "run_failed", "run_cancelled")]
        assert ends == [f"run_{ended.state}"]
        assert told[-1] == ends[0]


def test_several_reapers_treat_each_lapsed_run_once(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.reaper.HESITATION", 0.0)
    db = daily.here.db
    made = [start(daily).run.id for _ in range(20)]
    with db.write() as ws:
        stored.claim(ws, "server:gone", 20, now() - timedelta(seconds=60), at=now())
    reapers = [Reaper(daily.here) for _ in range(4)]
    assert [one.reap() for one in reapers] == [0] * 4
    at_once(4, lambda number: reapers[number].reap())
    assert states(daily) == [RunState.QUEUED] * 20
    with db.read() as rs:
        for run_id in made:
            assert [one.type for one in events.after(rs, run_id, 0)] == ["run_queued", "run_queued"]


def test_the_absence_of_the_database_counts_against_no_worker(tmp_path: Path) -> None:
    cluster = postgres.Cluster(next(iter(postgres.installed().values())))
    db = Database(cluster.database())
    try:
        db.migrate()
        house = furnished(server(db, tmp_path))
        run = start(house).run
        reaper = Reaper(house.here)
        with db.write() as ws:
            lease = timedelta(seconds=house.here.settings.lease)
            stored.claim(ws, "server:1", 1, now() + 2 * lease, at=now())
        reaper.start()
        first = reaper.beat
        wait_until(lambda: reaper.beat > first)
        cluster.stop()
        lapsed = now() + 2 * lease
        wait_until(lambda: now() > lapsed)  # nobody could renew it
        cluster.start()
        back = now()
        wait_until(lambda: house.run(run.id).state is RunState.QUEUED)
        assert now() - back > 0.7 * lease
        reaper.stop()
    finally:
        db.close()
        cluster.remove()


def wait_until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # poll: a condition is waited for, with a deadline


def test_families_can_be_cancelled_while_their_supervisors_report(daily: House) -> None:
    """Both hold several runs. Whoever is in another's way begins again, and nobody is told of it."""
    db, here = daily.here.db, daily.here
    parents = []
    for _ in range(3):
        with db.write() as ws:
            snapshot = frozen(ws)
            parent = a_run(snapshot)
            stored.insert(ws, parent)
            family = [a_run(snapshot, cause=Cause(kind="step", parent_run_id=parent.id)) for _ in range(4)]
            for child in family:
                stored.insert(ws, child)
            held = [Held(run_id=one.id, fence=1) for one in (parent, *family)]
        parents.append((parent.id, held))
    with db.write() as ws:
        stored.claim(ws, "server:1", 200, now() + timedelta(seconds=60), at=now())

    def work(number: int) -> None:
        parent, held = parents[number % 3]
        if number % 2:
            db.do(lambda ws: runs.cancel_with_children(ws, here, parent))
        else:
            exits = tuple(Exit(run_id=one.run_id, fence=1, status=1, failure="exited") for one in held[:2])
            db.do(lambda ws: journal.supervise(ws, here, Report(owner="s", held=tuple(held[2:]), exits=exits)))

    at_once(6, work)
    assert RunState.STARTING not in states(daily)


def test_the_chain_of_the_audit_log_is_one_chain(daily: House) -> None:
    def work(number: int) -> None:
        for _ in range(5):
            if number % 3 == 0:
                audit.seal(daily.here)
            start(daily)
            daily.here.db.do(lambda ws: audit.started(ws, Cause(account="ci"), "x", 202))

    at_once(9, work)
    verdict = audit.verify(daily.here)
    assert (verdict.intact, verdict.waiting, verdict.last) == (True, 0, 45), verdict
    places = [entry.number for entry in audit.entries(daily.here)]
    assert places == list(range(1, 46))
    assert all(isinstance(entry, Entry) for entry in audit.entries(daily.here))


def test_two_that_want_what_the_other_one_holds_both_succeed(daily: House) -> None:
    db = daily.here.db
    first, second = start(daily).run.id, start(daily).run.id
    meeting = threading.Barrier(2)

    def work(number: int) -> int:
        tries = 0

        def both(ws: WriteSession) -> int:
            nonlocal tries
            tries += 1
            mine, other = (first, second) if number else (second, first)
            run = stored.get(ws, mine)
            if not db.one_writer and tries == 1:
                meeting.wait(timeout=30)
            stored.save(ws, replace(run, sequence=run.sequence + 1))
            run = stored.get(ws, other)
            stored.save(ws, replace(run, sequence=run.sequence + 1))
            return tries

        return db.do(both)

    assert sorted(at_once(2, work)) == ([1, 1] if db.one_writer else [1, 2])
    assert [daily.run(one).sequence for one in (first, second)] == [2, 2]


def test_what_collides_each_time_is_given_up(db: Database) -> None:
    tries = []

    def collide(ws: WriteSession) -> None:
        tries.append(1)
        raise Collision("again", headers={"Retry-After": "1"})

    with pytest.raises(Collision) as caught:
        db.do(collide)
    assert len(tries) == 5
    assert (caught.value.status, caught.value.slug, caught.value.title()) == (
        503,
        "unavailable",
        "Penstock cannot do this right now.",
    )


def test_a_reader_sees_one_moment(daily: House) -> None:
    with daily.here.db.read() as rs:
        before = stored.page(rs, Window(), RunFilter()).total
        at_once(1, lambda _: start(daily))
        assert stored.page(rs, Window(), RunFilter()).total == before
    assert len(states(daily)) == 1


def test_one_server_at_a_time_sees_to_deployments(daily: House, tmp_path: Path) -> None:
    servers = [server(daily.here.db, tmp_path, name) for name in ("one", "two", "three")]
    tenders = [Tender(here, _no_launcher) for here in servers]  # type: ignore[arg-type]
    for _ in range(3):
        on_duty = at_once(3, lambda number: tenders[number]._on_duty())
        assert on_duty.count(True) == (3 if daily.here.db.one_writer else 1)
    again = [Tender(here, _no_launcher) for here in servers]  # type: ignore[arg-type]  # after a restart
    assert [one._on_duty() for one in again] == on_duty


def test_a_server_with_another_key_is_turned_away(daily: House, tmp_path: Path) -> None:
    audit.check_key(daily.here)
    audit.check_key(server(daily.here.db, tmp_path, "two"))
    stranger = server(daily.here.db, tmp_path, "three", key=b"1" * 48)
    if daily.here.db.one_writer:  # there is one home, and with it one key
        audit.check_key(stranger)
    else:
        with pytest.raises(
            PenstockError, match=r"shared/secret\.key is not the key of the servers on postgresql.*PENSTOCK_SHARED"
        ):
            audit.check_key(stranger)
