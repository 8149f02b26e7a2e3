"""Many threads and many processes at once: nothing fails, nothing is done twice, nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from penstock.ids import is_id, new_id
from penstock.store import events, idempotency, runs, snapshots, templates
from penstock.store.paging import Window
from penstock.store.runs import RunFilter
from penstock.store.session import Database
from tests.contract.conftest import Start
from tests.unit.store.samples import AT, a_run, a_template, frozen, later

T = TypeVar("T")

THREADS = 16

WRITE = """
import sys, time
from datetime import UTC, datetime, timedelta
from penstock.store import events, idempotency, runs, snapshots
from penstock.store.session import Database
from tests.unit.store.samples import a_run

url, snapshot_id, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = Database(url)
with db.read() as rs:
    snapshot = snapshots.get(rs, snapshot_id)
print("ready", flush=True)
sys.stdin.readline()
longest = 0.0
for _ in range(count):
    now = datetime.now(UTC)
    run = a_run(snapshot, created=now)
    began = time.monotonic()
    with db.write() as ws:
        assert idempotency.find(ws, "all", run.id, now) is None
        runs.count_active(ws)
        runs.insert(ws, run)
        events.append(ws, run.id, [events.Entry(at=now, type="run_queued")])
    longest = max(longest, time.monotonic() - began)
db.close()
print(longest)
"""

WRITE_ON = """
import sys
from penstock.store import runs, snapshots
from penstock.store.session import Database
from tests.unit.store.samples import a_run

db = Database(sys.argv[1])
with db.read() as rs:
    snapshot = snapshots.get(rs, sys.argv[2])
while True:
    run = a_run(snapshot, tags=("a", "b"))
    with db.write() as ws:
        ws.after_commit(lambda: print(run.id, flush=True))
        runs.insert(ws, run)
"""

MIGRATE = """
import sys
from penstock.store.session import Database

db = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
db.migrate()
db.close()
"""


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """What `work` gives in each of `count` threads that begin together."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> T:
        barrier.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def together(start: Start, count: int, script: str, *arguments: str) -> list[str]:
    """What the script prints in each of `count` processes that begin together; all must succeed."""
    processes = [start(script, *arguments) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [(process.returncode, error) for process, (_, error) in zip(processes, outputs, strict=True)] == [
        (0, "")
    ] * count
    return [output for output, _ in outputs]


def test_each_run_is_claimed_once(db: Database) -> None:
    with db.write() as ws:
        snapshot = frozen(ws)
        made = [a_run(snapshot) for _ in range(60)]
        for run in made:
            runs.insert(ws, run)

    def claim_all(number: int) -> list[str]:
        mine: list[str] = []
        while True:
            with db.write() as ws:
                claimed = runs.claim(ws, f"owner {number}", 2, later(10), at=later(0))
            mine += [run.id for run in claimed]
            with db.read() as rs:
                if runs.page(rs, Window(size=1), RunFilter(states=(run.state,))).total == 0:
                    return mine

    claimed = [run_id for mine in at_once(THREADS, claim_all) for run_id in mine]
    assert sorted(claimed) == sorted(run.id for run in made)
    with db.read() as rs:
        assert {run.fence for run in runs.page(rs, Window(size=200), RunFilter()).items} == {1}


def test_two_writers_of_one_run_do_not_undo_each_other(db: Database) -> None:
    with db.write() as ws:
        run = a_run(frozen(ws))
        runs.insert(ws, run)

    def report(number: int) -> None:
        for _ in range(5):
            with db.write() as ws:
                now = runs.get(ws, run.id)
                runs.save(ws, replace(now, sequence=now.sequence + 1))
                events.append(ws, run.id, [events.Entry(at=AT, type="log", step=str(number))])

    at_once(THREADS, report)
    with db.read() as rs:
        assert runs.get(rs, run.id).sequence == THREADS * 5
        assert [entry.number for entry in events.after(rs, run.id, 0)] == list(range(1, THREADS * 5 + 1))


def test_each_published_version_has_its_own_number(db: Database) -> None:
    with db.write() as ws:
        snapshot = frozen(ws)
        template = a_template(snapshot, "nightly")
        templates.insert(ws, template)

    def publish(number: int) -> int:
        with db.write() as ws:
            return templates.publish(ws, template.id, snapshot.id, later(number)).version

    assert sorted(at_once(THREADS, publish)) == list(range(2, THREADS + 2))


def test_the_same_content_frozen_at_once_is_one_snapshot(db: Database) -> None:
    def freeze(number: int) -> str:
        with db.write() as ws:
            return frozen(ws, "new").id

    assert len(set(at_once(THREADS, freeze))) == 1
    with db.read() as rs:
        assert snapshots.page(rs, Window()).total == 1


def test_one_key_makes_one_run(db: Database) -> None:
    with db.write() as ws:
        snapshot = frozen(ws)

    class Beaten(Exception):
        pass

    def trigger(number: int) -> str:
        try:
            with db.write() as ws:
                known = idempotency.find(ws, "ci", "key", AT)
                if known is not None:
                    return known.run_id
                run = a_run(snapshot)
                runs.insert(ws, run)
                answer = idempotency.Answer(
                    scope="ci",
                    key="key",
                    fingerprint="f" * 64,
                    run_id=run.id,
                    status=202,
                    created=AT,
                    expires=later(60),
                )
                if not idempotency.insert(ws, answer):
                    raise Beaten
                return run.id
        except Beaten:
            with db.read() as rs:
                known = idempotency.find(rs, "ci", "key", AT)
                assert known is not None
                return known.run_id

    assert len(set(at_once(THREADS, trigger))) == 1
    with db.read() as rs:
        assert runs.page(rs, Window(), RunFilter()).total == 1


def test_eight_processes_write_without_a_failure(db: Database, url: str, start: Start) -> None:
    with db.write() as ws:
        snapshot = frozen(ws)
    longest = [float(output) for output in together(start, 8, WRITE, url, snapshot.id, "50")]
    assert max(longest) < 10
    with db.read() as rs:
        assert runs.page(rs, Window(), RunFilter()).total == 400


def test_what_was_acknowledged_survives_a_kill(db: Database, url: str, start: Start) -> None:
    with db.write() as ws:
        snapshot = frozen(ws)
    acknowledged: list[str] = []
    for round_number in range(3):
        process = start(WRITE_ON, url, snapshot.id)
        assert process.stdout is not None
        acknowledged += [process.stdout.readline().strip() for _ in range(20 + 17 * round_number)]
        process.kill()
        acknowledged += [line for line in process.stdout.read().split() if is_id(line)]
    with db.read() as rs:
        kept = runs.page(rs, Window(), RunFilter()).total
        # One more for each kill may have been stored without anybody having heard of it.
        assert len(acknowledged) <= kept <= len(acknowledged) + 3
        assert runs.page(rs, Window(), RunFilter(tags=("b",))).total == kept
        assert {runs.get(rs, run_id).id for run_id in acknowledged} == set(acknowledged)


def test_processes_that_start_at_once_migrate_once(url: str, start: Start) -> None:
    together(start, 3, MIGRATE, url)
    db = Database(url)
    db.migrate()
    with db.write() as ws:
        run = a_run(frozen(ws), id=new_id())
        runs.insert(ws, run)
    with db.read() as rs:
        assert runs.get(rs, run.id) == run
    db.close()
