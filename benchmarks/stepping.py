"""What each further trivial step costs: tracked, its artifact kept, or taken from the cache."""

from __future__ import annotations

import itertools
import json
import sqlite3
from pathlib import Path
from typing import Any

from benchmarks.figures import Aim, Figure, slope
from benchmarks.harness import Caller, Lab, check, in_turns, template, took

FEW, MANY = 50, 500

_ROWS = 10
"""How many times as many rows the yardstick writes: they are so quick that the rest of the machine would drown them."""


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """The slope between runs of 50 and 500 steps that wait for one another: called, triggered, and all from the cache."""
    home = lab.new("home")
    project = lab.project("chain.py", "cached.py")
    starts = itertools.count(1_000_000, 1_000_000)  # every value is new to the artifact store

    def here(subject: str) -> tuple[float]:
        arguments = (subject, str(FEW), str(MANY), str(next(starts)))
        few, many = json.loads(lab.python(*arguments, home=home, cwd=project))
        return (slope(few, many, MANY - FEW),)

    def plain() -> tuple[float]:
        file = lab.new("sqlite") / "steps.db"
        few, many = _ROWS * FEW, _ROWS * MANY
        return (slope(_in_sqlite(file, few), _in_sqlite(file, many), many - few),)

    [direct], [beside_direct] = in_turns(repeat, lambda: here("chain.py"), plain)
    [cached], [beside_cached] = in_turns(repeat, lambda: here("cached.py"), plain)
    lab.end(home)
    server = lab.penstock(home)
    caller = template(lab, server, "chain")

    def there() -> tuple[float]:
        few, many = (_triggered(caller, steps, next(starts)) for steps in (FEW, MANY))
        return (slope(few, many, MANY - FEW),)

    [triggered], [beside_triggered] = in_turns(repeat, there, plain)
    server.stop()
    against = "SQLite, insert and commit"
    aim = Aim(0.002)
    return [
        Figure(
            what="each further step, pipeline called", ours=direct, against=against, yardstick=beside_direct, aim=aim
        ),
        Figure(
            what="each further step, run triggered",
            ours=triggered,
            against=against,
            yardstick=beside_triggered,
            aim=aim,
        ),
        Figure(
            what="each further step, taken from the cache",
            ours=cached,
            against=against,
            yardstick=beside_cached,
            aim=Aim(0.0015),
        ),
    ]


def _triggered(caller: Caller, steps: int, start: int) -> float:
    content = {"parameters": {"steps": steps, "start": start}}
    run: dict[str, Any] = {}

    def trigger() -> None:
        nonlocal run
        status, run = caller.ask("POST", "/api/v1/run_templates/chain/runs", content, Prefer="wait=60")
        check(status == 200, f"a trigger was answered with {status}: {run}")

    seconds = took(trigger)
    output = caller.ended(run)["outputs"]["output"]
    _, kept = caller.ask("GET", f"/api/v1/artifacts?size=1&run_id={run['id']}")
    found = (output, kept["total"])
    check(found == (start + steps, steps), f"{steps} steps from {start} gave {output} and {kept['total']} artifacts")
    return seconds


def _in_sqlite(file: Path, steps: int) -> float:
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE IF NOT EXISTS steps (id INTEGER PRIMARY KEY, number INTEGER)")

    def insert() -> None:
        for number in range(steps):
            with database:
                database.execute("INSERT INTO steps (number) VALUES (?)", (number,))

    seconds = took(insert)
    database.close()
    return seconds
