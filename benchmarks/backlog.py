"""A server that was killed with ten thousand runs in its queue: how soon it serves again, what it holds, whom it takes first."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil

from benchmarks.figures import Aim, Figure
from benchmarks.harness import Caller, Lab, Server, check, in_turns, template, took, wait_until

TEMPLATES = 50
QUEUED = 10_000
CLIENTS = 16

FIRST = 200
"""Runs of which each round waits until they were dispatched: among twice as many as there are templates, each has its turn."""


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Each round kills the server and all that it has started, starts it anew, and waits until the queue moves."""
    home = lab.new("home")
    _fill(lab, home)
    checked = itertools.count(1)

    def restarted() -> tuple[float, float, float]:
        before = _claimed(home)
        server = lab.penstock(home)
        moving = server.came_up + took(lambda: wait_until(lambda: _claimed(home) > before, "a run is dispatched"))
        wait_until(lambda: _claimed(home) >= before + FIRST, f"{FIRST} runs are dispatched")
        held = psutil.Process(server.process.pid).memory_info().rss / 2**20
        _kill(server)
        if next(checked) == 1:
            _check_order(home)
        return server.came_up, moving, held

    def plain() -> tuple[float, float]:
        server = lab.plain()
        held = psutil.Process(server.process.pid).memory_info().rss / 2**20
        server.stop()
        return server.came_up, held

    [up, moving, held], [plain_up, plain_held] = in_turns(min(repeat, 5), restarted, plain)
    what = f"killed with {QUEUED:,} queued, started again"
    against = "uvicorn + FastAPI"
    return [
        Figure(what=f"{what}: `/health` answers", ours=up, against=against, yardstick=plain_up, aim=Aim(10)),
        # No aim: the places of what was killed are free when its leases have run out, as they would be on other machines.
        Figure(what=f"{what}: the queue moves", ours=moving, against=against, yardstick=plain_up),
        Figure(
            what=f"{what}: memory after {FIRST} more",
            ours=held,
            against=against,
            yardstick=plain_held,
            unit="MiB",
            aim=Aim(300),
        ),
    ]


def _fill(lab: Lab, home: Path) -> None:
    """Queue the runs behind one that holds the only place, and kill everything."""
    server = lab.penstock(home, PENSTOCK_PARALLEL_RUNS="1")
    template(lab, server, "sleeper")
    caller = template(lab, server, "clock")
    check(caller.ask("POST", "/api/v1/run_templates/sleeper/runs", {})[0] == 202, "the sleeper does not start")
    wait_until(lambda: _claimed(home) == 1, "the sleeper has the only place")
    names = ["clock", *(_another(caller, number) for number in range(1, TEMPLATES))]

    def queue(number: int) -> None:
        path = f"/api/v1/run_templates/{names[number % TEMPLATES]}/runs"
        status, run = caller.ask("POST", path, {"parameters": {"number": number}})
        check(status == 202, f"a trigger was answered with {status}: {run}")

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(queue, range(QUEUED)))
    _kill(server)


def _another(caller: Caller, number: int) -> str:
    name = f"clock-{number}"
    _, known = caller.ask("GET", "/api/v1/run_templates/clock")
    snapshot = known["template"]["versions"][-1]["snapshot_id"]
    status, made = caller.ask("POST", "/api/v1/run_templates", {"name": name, "snapshot_id": snapshot})
    check(status == 201, f"publishing was answered with {status}: {made}")
    return name


def _kill(server: Server) -> None:
    """End the server and all that it has started, as a power failure would."""
    for process in server.living():
        os.kill(process.pid, signal.SIGKILL)
    server.process.wait()
    wait_until(lambda: not server.living(), "the end of all processes")


def _claimed(home: Path) -> int:
    return len(_claims(home))


def _claims(home: Path) -> list[tuple[str, str]]:
    """Template and name of all runs that were dispatched, in that order."""
    with closing(sqlite3.connect(f"file:{home / 'penstock.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT template_name, id FROM runs WHERE claimed IS NOT NULL ORDER BY claimed, id")
        return rows.fetchall()


def _check_order(home: Path) -> None:
    """What a template was asked for first is dispatched first, and each template has its turn. Ids are in the order of coming."""
    claims = [one for one in _claims(home) if one[0] != "sleeper"]
    check(len({name for name, _ in claims[: 2 * TEMPLATES]}) == TEMPLATES, "a template starves")
    ids = defaultdict(list)
    for name, identity in claims:
        ids[name].append(identity)
    for name, dispatched in ids.items():
        check(dispatched == sorted(dispatched), f"the runs of {name} were dispatched in another order")
