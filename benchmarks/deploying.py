"""A deployment of two steps, every request recorded as a run, against bare FastAPI doing the same arithmetic."""

from __future__ import annotations

import http.client
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.figures import Aim, Figure
from benchmarks.harness import PATIENCE, PAUSE, Lab, check, in_turns, took, wait_until

ONE_BY_ONE = 200
CLIENTS = 32
EACH = 40
MANY = 5000


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """One request on a connection that is there; 32 clients at once; what many requests leave in memory and in the record."""
    home = lab.new("home")
    server = lab.penstock(home)
    project = lab.project("two_steps.py")
    deploy = ("pipeline", "deploy", "two_steps.py:two_steps", "--name", "two", "-o", "json")
    made = json.loads(lab.python("-m", "penstock", *deploy, home=home, cwd=project))
    plain_home = lab.new("plain")
    arguments = ("-m", "uvicorn", "two_steps_plain:app", "--no-access-log", "--log-level", "warning")
    plain = lab.serve(plain_home, *arguments, cwd=Path(__file__).with_name("subjects"))
    ours, theirs = urlsplit(made["url"]).port or 0, plain.port
    numbers = itertools.count(1)
    [one], [one_plain] = in_turns(repeat, lambda: _one_by_one(ours, numbers), lambda: _one_by_one(theirs, numbers))
    [crowd], [crowd_plain] = in_turns(repeat, lambda: _crowd(ours, numbers), lambda: _crowd(theirs, numbers))
    worker = psutil.Process(json.loads((home / "deployments" / made["id"] / "state.json").read_text())["workers"][0])
    before = worker.memory_info().rss
    many(ours, MANY, numbers)
    grown = (worker.memory_info().rss - before) / 2**20
    asked = (repeat + 1) * (ONE_BY_ONE + CLIENTS * EACH) + MANY
    all_recorded(lab, home, asked)
    figures = [
        Figure(
            what="a request to a deployment of two steps",
            ours=one,
            against="bare FastAPI",
            yardstick=one_plain,
            aim=Aim(2, times=True),
        ),
        Figure(
            what=f"{CLIENTS} clients at once, for each request",
            ours=crowd,
            against="bare FastAPI",
            yardstick=crowd_plain,
            aim=Aim(2, times=True),
        ),
        Figure(
            what=f"memory of the service after {asked} requests (grown in the last {MANY}: {grown:.1f} MiB)",
            ours=[worker.memory_info().rss / 2**20],
            against="bare FastAPI",
            yardstick=[plain.memory()[0]],
            unit="MiB",
            aim=Aim(120),
        ),
    ]
    lab.python("-m", "penstock", "deployment", "delete", "two", home=home)
    server.stop()
    plain.stop()
    return figures


def all_recorded(lab: Lab, home: Path, asked: int) -> None:
    """Nothing is worth measuring if it is lost."""

    def there() -> bool:
        listed = lab.python("-c", f"{_COUNT}", home=home)
        return int(listed) == asked

    wait_until(there, f"{asked} runs in the record")


_COUNT = """
import os, sqlite3
database = sqlite3.connect(f"{os.environ['PENSTOCK_HOME']}/penstock.db")
print(database.execute("SELECT count(*) FROM runs WHERE served_by IS NOT NULL AND state = 'completed'").fetchone()[0])
"""


def _ask(connection: http.client.HTTPConnection, number: int) -> None:
    connection.request(
        "POST",
        "/invoke",
        body=json.dumps({"parameters": {"number": number}}),
        headers={"Content-Type": "application/json"},
    )
    answer = connection.getresponse()
    told: dict[str, Any] = json.loads(answer.read())
    check(answer.status == 200, f"{number} was answered with {answer.status}: {told}")
    check(told["outputs"]["output"] == number**2 + 1, f"the answer to {number} was {told}")


def _one_by_one(port: int, numbers: itertools.count[int]) -> tuple[float]:
    """Seconds for one request, at the median."""
    time.sleep(PAUSE)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    taken = sorted(took(partial(_ask, connection, next(numbers))) for _ in range(ONE_BY_ONE))
    connection.close()
    return (taken[len(taken) // 2],)


def _crowd(port: int, numbers: itertools.count[int]) -> tuple[float]:
    """Seconds for each of all requests of the clients."""
    time.sleep(PAUSE)
    with ThreadPoolExecutor(CLIENTS) as pool:
        return (took(lambda: _all(pool, port, numbers)) / (CLIENTS * EACH),)


def _all(pool: ThreadPoolExecutor, port: int, numbers: itertools.count[int]) -> None:
    for one in [pool.submit(many, port, EACH, numbers) for _ in range(CLIENTS)]:
        one.result()


def many(port: int, count: int, numbers: itertools.count[int]) -> None:
    """So many requests on one connection, each answered rightly."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for _ in range(count):
        _ask(connection, next(numbers))
    connection.close()
