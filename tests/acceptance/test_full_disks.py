"""What the store cannot take is refused and forgotten, what it took is kept, and all goes on by itself once it can again."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.store.session import PATIENCE
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually

LEASE = 3.0
"""Of sites under test."""

SOON = 30.0
"""Seconds after which all goes on at the latest."""


class Limited:
    """No file of the server may grow: what a quota does. Needs no rights."""

    def __init__(self, site: Site) -> None:
        assert site.process is not None
        self._pid = site.process.pid
        self._before = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (1, self._before[1]))

    def free(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, self._before)


class Small:
    """A disk of 64 MiB that something else fills."""

    def __init__(self, site: Site) -> None:
        self._ballast = site.home / "ballast"

    def fill(self) -> None:
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(home: Path) -> Iterator[None]:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", home], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"Only root may mount a small disk: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", home], check=True)


@pytest.fixture(params=["quota", "disk"])
def full(request: pytest.FixtureRequest) -> Iterator[tuple[Site, Any]]:
    """A site with the template `lab`, and what fills its disk."""
    home = Path(f"/tmp/pk-full-{os.getpid()}-{request.param}")  # short: a Unix socket lies in it
    home.mkdir(mode=0o700)
    site = Site(home, PENSTOCK_PARALLEL_RUNS="1", PENSTOCK_MIN_DISK="1")
    try:
        with small_disk(home) if request.param == "disk" else nullcontext():
            try:
                site.start()
                site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
                yield site, (Small if request.param == "disk" else Limited)(site)
            finally:
                site.stop()
    finally:
        subprocess.run(["rm", "-rf", home], check=True)


def trigger(client: httpx.Client, key: str, **parameters: Any) -> httpx.Response:
    return client.post("/run_templates/lab/runs", json={"parameters": parameters}, headers={"Idempotency-Key": key})


def known(site: Site) -> dict[str, str]:
    """The id of each run with its state."""
    found: dict[str, str] = {}
    cursor: dict[str, str] = {}
    while True:
        page = site.get("/runs", size=200, **cursor)
        found |= {run["id"]: run["state"] for run in page["items"]}
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


def sound(site: Site) -> None:
    with closing(sqlite3.connect(site.home / "penstock.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert site.get("/audit/verify")["intact"]


class Callers:
    """Several who trigger without pause, each with a key of its own each time, until they are told to stop."""

    def __init__(self, site: Site, count: int = 6) -> None:
        self.asked: list[tuple[str, httpx.Response]] = []
        self.key = site.key()
        self._over = threading.Event()
        client = site.keyed(self.key)
        self._pool = ThreadPoolExecutor(count)
        self._jobs = [self._pool.submit(self._call, client, name) for name in range(count)]

    def _call(self, client: httpx.Client, name: int) -> None:
        number = 0
        while not self._over.wait(0.05):  # what is accepted is to be carried out, too
            key = f"{name}-{number}"
            self.asked.append((key, trigger(client, key, number=number)))
            number += 1

    @property
    def answers(self) -> list[httpx.Response]:
        return [answer for _, answer in self.asked]

    def seen(self, status: int) -> int:
        return sum(answer.status_code == status for answer in self.answers)

    def stop(self) -> None:
        self._over.set()
        for job in self._jobs:
            job.result(60)
        self._pool.shutdown()

    def accepted(self) -> set[str]:
        return {answer.json()["id"] for answer in self.answers if answer.status_code == 202}


def test_a_full_disk_refuses_with_507_and_all_goes_on_once_there_is_room(
    full: tuple[Site, Any], tmp_path: Path
) -> None:
    site, disk = full
    under_way = site.trigger("lab", {"deed": "wait", "number": 5, "path": str(tmp_path / "w")})
    site.reaches(under_way["id"], {"running"})
    callers = Callers(site)
    eventually(lambda: callers.seen(202) >= 20, what="runs were accepted")
    disk.fill()
    try:
        eventually(lambda: callers.seen(507) >= 20, what="runs were refused")
        callers.stop()
        if isinstance(disk, Limited):
            (tmp_path / "w.go").touch()  # the run ends now, and its end cannot be stored
        assert {answer.status_code for answer in callers.answers} == {202, 507}
        problem = next(answer for answer in callers.answers if answer.status_code == 507)
        assert problem.headers["content-type"] == "application/problem+json"
        assert (problem.json()["type"], "Make room" in problem.json()["detail"]) == (
            "urn:penstock:problem:storage-full",
            True,
        )
        # Reading goes on, and there is no trace of what was refused.
        reading = site.keyed(callers.key)
        assert reading.get(f"/runs/{under_way['id']}").json()["state"] == "running"
        assert set(known(site)) == callers.accepted() | {under_way["id"]}
        assert site.api.get("http://penstock/health/live").status_code == 200
        # For longer than a lease no heartbeat is stored: a run that is well must not be taken for lost after that.
        time.sleep(LEASE + 1)  # slow: it is the time that is tested
    finally:
        disk.free()
    (tmp_path / "w.go").touch()
    refused = next(key for key, answer in callers.asked if answer.status_code == 507)
    again = eventually(lambda: taken(trigger(reading, refused)), what="a run was accepted again", patience=SOON)
    assert again.headers.get("Idempotency-Result", "created") == "created"
    ended = site.ended(under_way["id"], SOON)
    assert ended["state"] == "completed", ended
    for run in sorted(callers.accepted())[:5]:  # ids are time-ordered, and so are runs
        ended = site.ended(run)
        assert ended["state"] == "completed", ended
    assert "failed" not in known(site).values()
    assert set(known(site)) == callers.accepted() | {under_way["id"], again.json()["id"]}
    sound(site)


def taken(answer: httpx.Response) -> httpx.Response | None:
    """The answer, if the run was accepted; it may only be refused for want of room."""
    assert answer.status_code in (202, 507), answer.text
    return answer if answer.status_code == 202 else None


def test_a_database_that_another_process_holds_gives_503_and_all_goes_on_once_it_lets_go(fresh: Site) -> None:
    client = fresh.keyed(fresh.key("held"))
    assert client.get("/runs").status_code == 200  # the key is noted as used
    before = set(known(fresh))
    with closing(sqlite3.connect(fresh.home / "penstock.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(trigger, client, f"k{number}", number=number) for number in range(8)]
            # Reading goes on meanwhile.
            assert set(known(fresh)) == before
            begun = time.monotonic()
            answers = [one.result(60) for one in asked]
        assert {answer.status_code for answer in answers} == {503}
        # For those before them, and for the database; not once more, to have the refusal on record.
        assert time.monotonic() - begun < 2.5 * PATIENCE
        for answer in answers:
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "urn:penstock:problem:unavailable"
        assert set(known(fresh)) == before
        waiting = ThreadPoolExecutor(1).submit(trigger, client, "k0", number=0)
        other.execute("ROLLBACK")
    first = waiting.result(60)  # who waits when it lets go is served
    assert first.status_code == 202, first.text
    rest = [trigger(client, f"k{number}", number=number) for number in range(1, 8)]
    accepted = {answer.json()["id"] for answer in (first, *rest)}
    eventually(lambda: set(known(fresh).values()) == {"completed"}, what="all that was accepted")
    assert set(known(fresh)) == before | accepted
    assert len(accepted) == 8
    sound(fresh)
