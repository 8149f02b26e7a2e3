"""What a step costs in a long run against a short one, and in a full database against an empty one: it should be the same."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.copies import copy
from benchmarks.figures import Aim, Figure, slope
from benchmarks.harness import Lab, check, in_turns
from penstock.ids import new_id


@dataclass(frozen=True)
class Subject:
    """Steps of one kind, by the thousand: the `seconds` of `subjects/NAME.py` runs them."""

    name: str
    what: str
    few: int
    many: int
    most: int


SUBJECTS = (
    Subject("chain", "step that waits for another", 100, 1000, 2000),
    Subject("mapped", "item of a `.map()`", 100, 1000, 10_000),
)

STORED = 100_000
"""Runs in the full database; in the other one there are no more than the benchmark makes."""

LEVEL = 1.25
"""How many times the yardstick is still the same: what the machine does meanwhile is in it, too."""

_KEPT_BY_RUN = ("step_runs", "artifacts", "run_events")


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Slopes, so that what is paid once a run falls out; the peak of the memory; all in the caller's process."""
    starts = itertools.count(10**9, 10**9)  # every value is new to the artifact store
    figures: list[Figure] = []
    for subject in SUBJECTS:
        figures += _long_and_short(lab, subject, repeat, starts)
    return [*figures, _full_and_empty(lab, SUBJECTS[0], repeat, starts)]


def _long_and_short(lab: Lab, subject: Subject, repeat: int, starts: Iterator[int]) -> list[Figure]:
    home = lab.new("home")

    def sample(few: int, many: int) -> tuple[float, float]:
        short, long, peak = _run(lab, home, subject, next(starts), (few, many))
        return slope(short, long, many - few), peak

    [last, high], [first, low] = in_turns(
        repeat, lambda: sample(subject.many, subject.most), lambda: sample(subject.few, subject.many)
    )
    lab.end(home)
    aim = Aim(LEVEL, times=True)
    return [
        Figure(
            what=f"each {subject.what}, from {subject.many:,} to {subject.most:,}",
            ours=last,
            against=f"from {subject.few:,} to {subject.many:,}",
            yardstick=first,
            aim=aim,
        ),
        Figure(
            what=f"process of a run of {subject.most:,}, at its most",
            ours=high,
            against=f"of {subject.many:,}",
            yardstick=low,
            unit="MiB",
            aim=aim,
        ),
    ]


def _full_and_empty(lab: Lab, subject: Subject, repeat: int, starts: Iterator[int]) -> Figure:
    empty, full = lab.new("empty"), lab.new("full")
    for home in (empty, full):
        _run(lab, home, subject, next(starts), (1,))
    _fill(lab, full)

    def sample(home: Path) -> tuple[float]:
        short, long, _ = _run(lab, home, subject, next(starts), (subject.few, subject.many))
        return (slope(short, long, subject.many - subject.few),)

    [beside_many], [beside_few] = in_turns(repeat, lambda: sample(full), lambda: sample(empty))
    for home in (empty, full):
        lab.end(home)
    return Figure(
        what=f"each {subject.what}, {STORED:,} runs stored",
        ours=beside_many,
        against="a few runs stored",
        yardstick=beside_few,
        aim=Aim(LEVEL, times=True),
    )


def _run(lab: Lab, home: Path, subject: Subject, start: int, counts: Sequence[int]) -> list[float]:
    """The seconds of each of these runs, one after the other in a process of their own, and the peak of its memory."""
    project = lab.project(f"{subject.name}.py", "many_steps.py")
    arguments = ("many_steps.py", subject.name, str(start), *map(str, counts))
    told = json.loads(lab.python(*arguments, home=home, cwd=project))
    return [*told["seconds"], told["peak"]]


def _fill(lab: Lab, home: Path) -> None:
    """Have the database of this home hold many more runs: copies of one, with all that is kept of it."""
    lab.end(home)
    [file] = home.glob("*.db")
    with closing(sqlite3.connect(file)) as database, database:
        database.row_factory = sqlite3.Row
        run = database.execute("SELECT * FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        ids = [new_id() for _ in range(STORED)]
        copy(database, "runs", [run], ({"id": id, "name": f"copy-{id}"} for id in ids))
        for table in _KEPT_BY_RUN:
            rows = database.execute(f"SELECT * FROM {table} WHERE run_id = ?", (run["id"],)).fetchall()
            copy(database, table, rows, ({"run_id": id} for id in ids))
        stored = database.execute("SELECT count(*) FROM runs").fetchone()[0]
    check(stored > STORED, f"the full database has {stored} runs")
