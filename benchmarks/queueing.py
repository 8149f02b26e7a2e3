"""The queue under load: how fast triggers of many clients are accepted, and how soon a freed slot is used again."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from benchmarks.figures import Aim, Figure
from benchmarks.harness import Caller, Lab, Server, check, in_turns, template, took, wait_until

CLIENTS = 16
EACH = 16
"""Triggers that each client sends, one after the other."""

IN_A_ROW = 30
"""Runs of a template that has one at a time."""


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Triggers are accepted while all that came before waits for a slot, and while runs are carried out on the same cores.

    For the second the queue is emptied before each sample; runs that were accepted must all be carried out, once.
    """
    held, plain_server = lab.penstock(lab.new("home"), PENSTOCK_PARALLEL_RUNS="1"), lab.plain()
    waiting = _occupied(lab, held)
    server = lab.penstock(lab.new("home"))
    caller, plain_caller = template(lab, server, "clock"), plain_server.caller()
    numbers = itertools.count(1)

    def accepted() -> tuple[float, float, float]:
        queued: list[Any] = []
        waits = took(lambda: queued.extend(_from_many(lambda: _trigger(waiting, next(numbers)))))
        check(len({run["id"] for run in queued}) == CLIENTS * EACH, "two triggers gave one run")
        _limit(caller, {})
        runs: list[Any] = []
        seconds = took(lambda: runs.extend(_from_many(lambda: _trigger(caller, next(numbers)))))
        check(len({run["id"] for run in runs}) == CLIENTS * EACH, "two triggers gave one run")
        for run in runs:
            check(caller.ended(run)["state"] == "completed", f"{run['name']} was accepted, and did not complete")
        return waits / len(queued), seconds / len(runs), _longest_gap(caller, numbers)

    def inserted() -> tuple[float]:
        def insert() -> Any:
            return plain_caller.ask("POST", "/runs", {"number": next(numbers)})

        return (took(lambda: _from_many(insert)) / (CLIENTS * EACH),)

    [waits, each, gap], [plain] = in_turns(repeat, accepted, inserted)
    for one in (server, plain_server):
        one.stop()
    lab.end(held.home)
    against = f"FastAPI + SQLite, {CLIENTS} clients, each"
    return [
        Figure(
            what=f"trigger accepted, {CLIENTS} clients, each, while runs wait",
            ours=waits,
            against=against,
            yardstick=plain,
            aim=Aim(0.002),
        ),
        Figure(
            what=f"trigger accepted, {CLIENTS} clients, each, while runs are carried out",
            ours=each,
            against=against,
            yardstick=plain,
            aim=Aim(0.002),
        ),
        Figure(
            what=f"end of a run to start of the next, one at a time, longest of {IN_A_ROW}",
            ours=gap,
            against=against,
            yardstick=plain,
            aim=Aim(0.05),
        ),
    ]


def _occupied(lab: Lab, server: Server) -> Caller:
    """A caller of this server, whose only slot is taken for good."""
    template(lab, server, "sleeper")
    caller = template(lab, server, "clock")
    run = caller.ask("POST", "/api/v1/run_templates/sleeper/runs", {})[1]
    wait_until(lambda: caller.ask("GET", f"/api/v1/runs/{run['id']}")[1]["state"] == "running", "the slot is taken")
    return caller


def _from_many(action: Any) -> list[Any]:
    """What the action gives, done by all clients at once, several times each."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return [one for part in pool.map(lambda _: [action() for _ in range(EACH)], range(CLIENTS)) for one in part]


def _trigger(caller: Caller, number: int) -> Any:
    status, run = caller.ask("POST", "/api/v1/run_templates/clock/runs", {"parameters": {"number": number}})
    check(status == 202, f"a trigger was answered with {status}: {run}")
    return run


def _limit(caller: Caller, limits: dict[str, Any]) -> None:
    status, told = caller.ask("PUT", "/api/v1/run_templates/clock/terms", {"limits": limits} if limits else {})
    check(status == 200, f"the terms were answered with {status}: {told}")


def _longest_gap(caller: Caller, numbers: itertools.count[int]) -> float:
    """Seconds from the end of a run to the start of the next, where one goes on at a time and others wait."""
    _limit(caller, {"concurrency": 1})
    started = [_trigger(caller, next(numbers)) for _ in range(IN_A_ROW)]
    ended = sorted((caller.ended(run) for run in started), key=lambda run: str(run["started"]))
    moments = [(datetime.fromisoformat(run["started"]), datetime.fromisoformat(run["ended"])) for run in ended]
    pairs = list(itertools.pairwise(moments))
    check(all(before[1] <= after[0] for before, after in pairs), "two runs went on at once")
    return max((after[0] - before[1]).total_seconds() for before, after in pairs)
