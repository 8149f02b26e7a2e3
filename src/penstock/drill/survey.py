"""What is there at the end: what the API says of every run, and what nobody needs any more and is still there."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from penstock.drill.installation import Site
from penstock.drill.load import Clients
from penstock.drill.records import STEPS, TERMINAL, Answer, Deed, Heard, History, Leftover, Order, Surprise, Told
from penstock.drill.witness import Witness
from penstock.errors import PenstockError

SLOW = 6.0
"""Seconds that a run may take, on a machine that has much else to do."""

_ERROR = re.compile(r"\d{4}-\d\d-\d\d \S+ (ERROR|CRITICAL) ")

POOL = 50
"""So many connections to a database server may be kept."""

SPARE = 4
"""So many descriptors more than before are no leak: a connection that is kept for the next request, and the like."""


def settled(sites: list[Site], patience: float) -> bool:
    """Whether every run has ended, as soon as that is so."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        with suppress(OSError, PenstockError):
            told = [site.owner("GET", "/info") for site in sites]
            if not sum(one["runs_active"] + one["runs_queued"] for one in told):
                return True
        time.sleep(0.1)
    return False


def all_told(history: History, patience: float) -> bool:
    """Whether all who asked for that were told of the ends of their runs, as soon as that is so."""
    wanted = {one.number for one in history.of(Order) if one.callback}
    runs = {one.run_id for one in history.of(Answer) if one.accepted and one.order in wanted}
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if runs <= {one.run_id for one in history.of(Heard)}:
            return True
        time.sleep(0.1)
    return False


def ask_everything(site: Site, history: History) -> None:
    """Note what the API says of every run that it knows."""
    cursor = ""
    while True:
        page = site.owner("GET", f"/runs?size=200{cursor}")
        for listed in page["items"]:
            history.add(_told(site, site.owner("GET", f"/runs/{listed['id']}")))
        if not page["next"]:
            return
        cursor = f"&cursor={page['next']}"


def _told(site: Site, run: dict[str, Any]) -> Told:
    steps = site.owner("GET", f"/runs/{run['id']}/steps?size=200")["items"]
    lines: list[dict[str, Any]] = []
    if run["state"] == "completed":
        lines = site.owner("GET", f"/runs/{run['id']}/logs")["lines"]
    return Told(
        run_id=run["id"],
        order=run["parameters"]["order"],
        state=run["state"],
        output=next(iter((run["outputs"] or {}).values()), None),
        error=run["error"]["message"] if run["error"] else None,
        steps={one["step"]: one["state"] for one in steps},
        lines=tuple(line["text"] for line in lines),
    )


def check_slots(clients: Clients, witness: Witness, history: History, first: int, slots: int) -> None:
    """Have as many runs as there is room for, each of which waits for the others: no slot was lost."""
    numbers = range(first, first + slots)
    witness.gather(numbers, 5 * SLOW)
    runs = [clients.place(Order(number=number, key=f"slot-{number}")) for number in numbers]
    until = time.monotonic() + 10 * SLOW
    for run_id in filter(None, runs):
        while time.monotonic() < until and clients.look(run_id, 10) not in TERMINAL:
            time.sleep(0.1)
    work = [
        (one.at, 1 if one.event == "begin" else -1)
        for one in history.of(Deed)
        if one.order in numbers and one.step == STEPS[0] and one.event in ("begin", "end")
    ]
    busy = most = 0
    for _, change in sorted(work):
        busy += change
        most = max(most, busy)
    if most < slots:
        history.add(Leftover(kind="slot", what=f"only {most} of {slots} runs were carried out at once"))


def descriptors(site: Site) -> Counter[str]:
    """What the server and its supervisor have open, by kind. Files of the database are those of a pool: it has a bound."""
    found: Counter[str] = Counter()
    for pid in (site.pid(), *(one.pid for one in site.supervisors())):
        who = "server" if pid == site.pid() else "supervisor"
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(entry.readlink())
                if "penstock.db" not in target:
                    found[f"{who} {target.partition(':')[0] if ':' in target else target}"] += 1
    return found


def check_descriptors(before: Counter[str], after: Counter[str], history: History, *, pooled: bool) -> None:
    """What was opened meanwhile has been closed. With `pooled`, connections to the database are kept for later."""
    for kind, number in after.items():
        if number > before[kind] + (POOL if pooled and kind == "server socket" else SPARE):
            history.add(Leftover(kind="descriptors", what=f"{kind}: {number}, and {before[kind]} at the beginning"))


def check_offspring(sites: list[Site], history: History) -> None:
    """No process of a run is there when all runs have ended: neither its own nor what it has left behind."""
    known = {deed.pid for deed in history.of(Deed)}
    until = time.monotonic() + 10
    while (left := [one for site in sites for one in _offspring(site, known)]) and time.monotonic() < until:
        time.sleep(0.1)
    for process in left:
        history.add(Leftover(kind="process", what=f"{process.pid} of a run that has ended: {_words(process)}"))


def _offspring(site: Site, known: set[int]) -> list[psutil.Process]:
    marked = {one.pid for family in site.marked().values() for one in family}
    return [one for one in site.processes() if one.pid in marked | known]


def check_remains(sites: list[Site], history: History) -> None:
    """After servers have left in good order, no process of a home is there, no file that was only for a while, no error in a log."""
    until = time.monotonic() + 20
    while (left := [one for site in sites for one in site.processes()]) and time.monotonic() < until:
        time.sleep(0.1)
    for process in left:
        history.add(Leftover(kind="process", what=f"{process.pid} after the server had left: {_words(process)}"))
        process.kill()
    for site in sites:
        for file in passing_files(site.home, site.scratch):
            history.add(Leftover(kind="file", what=file))
        _check_logs(site, history)


def passing_files(home: Path, scratch: Path) -> list[str]:
    """Files and folders that are there for a while only: none of them should be left."""
    found = [str(one) for one in scratch.iterdir()]
    for folder in ("work", "held", "spool"):
        with suppress(FileNotFoundError):
            found += [str(one) for one in (home / folder).iterdir()]
    for where, folders, files in os.walk(home):
        found += [
            str(Path(where, name))
            for name in (*folders, *files)
            if name.startswith((".unpacking", ".building", ".removing", "tmp"))
            or name.endswith((".new", ".tmp", ".part"))
        ]
    return sorted(found)


def check_database(site: Site, history: History) -> None:
    """What the product itself says of its database, now that nobody writes: rows, references, audit log, files of artifacts."""
    status, words = site.check_database()
    if status:
        history.add(Surprise(at=time.monotonic(), what=f"penstock db check ended with {status}: {words[-500:]}"))


def _check_logs(site: Site, history: History) -> None:
    """No log of the product has an error in it that nobody foresaw: what was foreseen is a warning at most."""
    for log in site.logs():
        lines = log.read_text(errors="replace").splitlines()
        for at, line in enumerate(lines):
            if _ERROR.match(line) or line.startswith("Traceback"):
                words = " | ".join(lines[max(0, at - 1) : at + 1])
                last = next((one for one in lines[at + 1 :] if one and not one.startswith((" ", "Traceback"))), "")
                history.add(Surprise(at=time.monotonic(), what=f"{log.name} has {words} | {last}"[:600]))


def promised(history: History) -> int:
    """How many runs clients were promised."""
    return len({one.run_id for one in history.of(Answer) if one.accepted})


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())[:200]
    return "?"
