"""Lists: `penstock run list` in a terminal; and a page of runs over HTTP, among a million and among a thousand."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from benchmarks.copies import copy
from benchmarks.figures import Aim, Figure
from benchmarks.harness import PATIENCE, Caller, Lab, check, in_turns, template, took
from penstock.ids import new_id

RUNS = 20

FEW, MANY = 1_000, 1_000_000
"""Stored runs. Every second one has the tag `even`."""

QUERIES = (
    "",
    "template=clock",
    "state=completed",
    "tag=even",
    "pipeline=clock&state=completed",
    "tag=even&state=completed",
)


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Seconds of whole processes on a pseudo-terminal; three for each repetition."""
    project, home = lab.project("three_steps.py", "list_plain.py"), lab.new("home")
    for _ in range(RUNS):
        lab.python("three_steps.py", home=home, cwd=project)
    environment = {**lab.environment(home), "COLUMNS": "160", "LINES": "50", "TERM": "xterm-256color"}

    def in_terminal(*arguments: str) -> tuple[float]:
        shown = b""

        def run() -> None:
            nonlocal shown
            shown = _shown([sys.executable, *arguments], environment, project)

        seconds = took(run)
        check(shown.count(b"completed") == RUNS, f"not {RUNS} runs were listed, but: {shown.decode()}")
        return (seconds,)

    [ours], [plain] = in_turns(
        3 * repeat,
        lambda: in_terminal("-m", "penstock", "run", "list"),
        lambda: in_terminal("list_plain.py", str(home / "server.sock")),
    )
    against = "http.client, json and print"
    shown = Figure(what="`penstock run list`", ours=ours, against=against, yardstick=plain, aim=Aim(0.4))
    return [shown, *_pages(lab, repeat)]


def _shown(command: list[str], environment: dict[str, str], cwd: Path) -> bytes:
    """What the command shows on a terminal of its own."""
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(command, env=environment, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            said = b""
            try:
                while part := os.read(ours, 1 << 16):
                    said += part
            except OSError:
                pass  # how Linux says that nobody holds the other side any more
            check(process.wait(PATIENCE) == 0, f"{' '.join(command)} failed: {said.decode()}")
            return said
    finally:
        os.close(ours)


def _pages(lab: Lab, repeat: int) -> list[Figure]:
    """The first page over HTTP, without a filter and with some; the slowest of them counts."""
    servers = {number: lab.penstock(_full(lab, number)) for number in (FEW, MANY)}
    callers = {number: server.caller(_key(lab, server.home)) for number, server in servers.items()}

    def first(number: int) -> list[float]:
        return [took(lambda query=query: _page(callers[number], query)) for query in QUERIES]  # type: ignore[misc]

    ours, few = in_turns(5 * repeat, lambda: first(MANY), lambda: first(FEW))
    for server in servers.values():
        server.stop()
    return [
        Figure(
            what=f"first page of {MANY:,} runs{query and ', ' + query}",
            ours=among_many,
            against=f"of {FEW:,}",
            yardstick=among_few,
            aim=Aim(2, times=True),
        )
        for query, among_many, among_few in zip(QUERIES, ours, few, strict=True)
    ]


def _page(caller: Caller, query: str) -> None:
    status, page = caller.ask("GET", f"/api/v1/runs?{query}")
    check(status == 200 and len(page["items"]) == RUNS, f"a page was answered with {status}: {page}")


def _full(lab: Lab, number: int) -> Path:
    """A home with so many runs: copies of one."""
    home = lab.new("home")
    server = lab.penstock(home)
    caller = template(lab, server, "clock")
    run = caller.ask("POST", "/api/v1/run_templates/clock/runs", {"parameters": {"number": 1}})[1]
    caller.ended(run)
    lab.end(home)
    ids = [new_id() for _ in range(number)]
    with closing(sqlite3.connect(home / "penstock.db")) as database, database:
        database.row_factory = sqlite3.Row
        row = database.execute("SELECT * FROM runs").fetchone()
        copy(database, "runs", [row], ({"id": one, "name": f"copy-{one}"} for one in ids))
        database.executemany("INSERT INTO run_tags (tag, run_id) VALUES ('even', ?)", ((one,) for one in ids[::2]))
    return home


def _key(lab: Lab, home: Path) -> str:
    arguments = ("service-account", "create", "reader", "--role", "viewer", "--create-api-key", "--output", "json")
    made = json.loads(lab.python("-m", "penstock", *arguments, home=home))
    return str(made["api_key"]["key"])
