from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import KeyReused, NotFound, StorageFull, Unavailable
from penstock.serve.submissions import Submissions

DIES = """
import os, sys
from pathlib import Path
from penstock.serve.submissions import Submissions
one = Submissions(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    one.claim()
os._exit(9)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Submissions]:
    store = Submissions(tmp_path)
    yield store
    store.close()


def add(store: Submissions, body: bytes = b"{}", key: str | None = None, **bounds: Any) -> str:
    found, _ = store.add(body, body.decode(), key, **{"most": 100, "room": 10_000} | bounds)
    return found.id


def test_the_oldest_is_carried_out_first_and_once(store: Submissions, tmp_path: Path) -> None:
    ids = [add(store) for _ in range(20)]
    other = Submissions(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        claimed = [one.id for one in pool.map(lambda at: (store, other)[at % 2].claim(), range(20)) if one is not None]
    assert sorted(claimed) == ids
    assert store.claim() is None
    other.close()


def test_a_key_stands_for_its_request(store: Submissions) -> None:
    first, new = store.add(b"1", "1", "key", most=9, room=99)
    again, fresh = store.add(b"1", "1", "key", most=9, room=99)
    assert (new, fresh, again.id) == (True, False, first.id)
    with pytest.raises(KeyReused):
        store.add(b"2", "2", "key", most=9, room=99)
    assert store.waiting() == 1


def test_it_is_bounded_in_number_and_in_bytes(store: Submissions) -> None:
    add(store, most=1)
    with pytest.raises(Unavailable):
        add(store, most=1)
    with pytest.raises(Unavailable):
        add(store, b"x" * 100, room=50)
    assert store.waiting() == 1


def test_what_a_dead_process_had_begun_waits_again_until_it_was_begun_too_often(
    store: Submissions, tmp_path: Path
) -> None:
    identity, cancelled = add(store), add(store)
    for attempt in (1, 2):
        subprocess.run([sys.executable, "-c", DIES, str(tmp_path), "2"], check=False)
        if attempt == 1:
            store.cancel(cancelled)
        assert store.get(identity).attempts == attempt
        assert store.recover(2, b"lost") == 2 - attempt
    assert (store.get(identity).state, store.get(identity).result) == ("failed", b"lost")
    assert store.get(cancelled).state == "cancelled"


def test_what_a_living_process_has_begun_is_left_to_it(store: Submissions, tmp_path: Path) -> None:
    identity = add(store)
    script = DIES.replace("os._exit(9)", "print('begun', flush=True); sys.stdin.read()")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"begun\n"
        assert store.recover(2, b"lost") == 0
        assert store.get(identity).state == "running"
        other.kill()
    assert store.recover(2, b"lost") == 1


def test_what_is_given_back_was_not_begun(store: Submissions) -> None:
    identity = add(store)
    store.claim()
    store.give_back(identity)
    found = store.get(identity)
    assert (found.state, found.attempts, found.started) == ("queued", 0, None)


def test_cancelling_ends_what_waits_and_tells_who_carries_out_the_rest(store: Submissions) -> None:
    first, second = add(store), add(store)
    store.claim()
    assert store.cancel(second).state == "cancelled"
    assert store.cancel(first).cancelling
    assert store.cancelled() == [first]
    store.finish(first, "completed", 200, b"{}")
    assert store.cancel(first).state == "completed"
    with pytest.raises(NotFound):
        store.cancel("nothing")


def test_results_are_forgotten_in_time_and_for_want_of_room(store: Submissions) -> None:
    ids = [add(store, key=str(number)) for number in range(4)]
    for identity in ids[:3]:
        store.claim()
        store.finish(identity, "completed", 200, b"x" * 100)
    store.forget(0, 250)
    with pytest.raises(NotFound):
        store.get(ids[0])
    store.forget(time.time() + 1, 250)
    assert store.get(ids[3]).state == "queued"
    with pytest.raises(NotFound):
        store.get(ids[2])
    assert add(store, b"other", key="0")


def test_a_disk_that_is_full_keeps_nothing_and_says_so(store: Submissions) -> None:
    store._db.execute("PRAGMA max_page_count = 12")
    with pytest.raises(StorageFull):
        add(store, b"x" * 100_000, room=1_000_000)
    assert store.waiting() == 0
    store._db.execute("PRAGMA max_page_count = 100000")
    assert add(store, b"x" * 100_000, room=1_000_000)
