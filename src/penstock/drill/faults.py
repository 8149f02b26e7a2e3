"""The faults: each breaks one thing of the installation from outside, mends it, and notes what that excuses."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import psutil

from penstock.drill.database import Database
from penstock.drill.installation import LEASE, Site
from penstock.drill.proxy import ILLS, Ill, Proxy
from penstock.drill.records import Blow, Deed, History
from penstock.drill.shim import POINTS, Shim, compiler


@dataclass(frozen=True)
class Field:
    """What a fault has to work on."""

    site: Site
    history: History
    chance: Random
    network: Proxy
    shim: Shim | None
    database: Database

    def note(self, fault: str, what: str, since: float, *, runs: tuple[str, ...] = (), all_runs: bool = False) -> None:
        """Write down a blow that is over now."""
        blow = Blow(fault=fault, what=what, at=since, until=time.monotonic(), runs=runs, all_runs=all_runs)
        self.history.add(blow)


def kill_server(field: Field) -> None:
    """Kill -9 of the server. No run may suffer from that: they are carried out by others."""
    since = time.monotonic()
    field.site.kill()
    field.site.serving.wait(60)
    field.note("server", "kill -9 of the server", since)


def kill_worker(field: Field) -> None:
    """Kill -9 of a process of a run. That run may fail, and no other."""
    until = time.monotonic() + LEASE
    while not (running := field.site.marked()) and time.monotonic() < until:
        time.sleep(0.02)
    if not running:
        return
    since = time.monotonic()
    run_id = field.chance.choice(sorted(running))
    victim = field.chance.choice(running[run_id])
    with suppress(psutil.Error):
        victim.kill()
    field.note("worker", f"kill -9 of process {victim.pid} of run {run_id}", since, runs=(run_id,))


def kill_supervisor(field: Field) -> None:
    """Kill -9 of the supervisor. The runs in its care may fail: nobody knows how far they came."""
    since = time.monotonic()
    for victim in field.site.supervisors():
        with suppress(psutil.Error):
            victim.kill()
        field.note("supervisor", f"kill -9 of the supervisor {victim.pid}", since, all_runs=True)


def kill_parent(field: Field) -> None:
    """Kill -9 of a warm parent. Runs that it has forked may fail with it."""
    since = time.monotonic()
    parents = field.site.warm_parents()
    if parents:
        victim = field.chance.choice(parents)
        with suppress(psutil.Error):
            victim.kill()
        field.note("parent", f"kill -9 of the warm parent {victim.pid}", since, all_runs=True)


def freeze(field: Field) -> None:
    """SIGSTOP and SIGCONT: of the server for longer than a lease, which nobody may notice; of all others for less or more."""
    since = time.monotonic()
    if field.chance.random() < 0.5:
        _frozen([psutil.Process(field.site.pid())], field.chance.uniform(0.2, 1.5 * LEASE))
        field.note("freeze", "the server stood still", since)
        return
    seconds = field.chance.choice((LEASE / 4, 2 * LEASE))
    others = [one for one in field.site.processes() if one.pid != field.site.pid()]
    _frozen(others, seconds)
    field.note("freeze", f"all workers stood still for {seconds:.1f} s", since, all_runs=seconds > LEASE / 2)


def break_network(field: Field) -> None:
    """The network between clients and the server refuses, resets, swallows answers, stalls or drips for a while."""
    since = time.monotonic()
    ill = field.chance.choice(ILLS)
    field.network.fall_ill(ill)
    try:
        time.sleep(field.chance.uniform(0.5, 4.0))
    finally:
        field.network.fall_ill(Ill.NOTHING)
    field.note("network", ill.value, since)


def fill_disk(field: Field) -> None:
    """No file can grow: for the server alone, which no run may suffer from, or for everybody."""
    since = time.monotonic()
    everybody = field.chance.random() < 0.5
    _limit([psutil.Process(field.site.pid())] if not everybody else field.site.processes(), 0)
    try:
        time.sleep(field.chance.uniform(0.5, LEASE))
    finally:
        _limit(field.site.processes(), resource.RLIM_INFINITY)
    field.note("disk", "no file could grow" + ("" if everybody else " for the server"), since, all_runs=everybody)


def _limit(processes: list[psutil.Process], size: int) -> None:
    for process in processes:
        with suppress(psutil.Error, OSError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def move_clock(field: Field) -> None:
    """The wall clock of every process jumps by an hour or a day, forth or back, and later jumps home again."""
    assert field.shim is not None
    since = time.monotonic()
    seconds = field.chance.choice((3600, -3600, 86400, -86400))
    field.shim.shift(seconds)
    try:
        time.sleep(field.chance.uniform(0.5, 2 * LEASE))
    finally:
        field.shim.shift(0)
    field.note("clock", f"{seconds:+d} s", since)


def end_at_point(field: Field) -> None:
    """One process is ended (SIGKILL) right before or after something is on disk for good."""
    assert field.shim is not None
    since = time.monotonic()
    point = field.chance.choice(list(POINTS))
    server, supervisors = field.site.pid(), {one.pid for one in field.site.supervisors()}
    field.site.expect_death(True)
    field.shim.arm(point, field.chance.randrange(1, 40))
    victim = field.shim.victim(LEASE)
    field.shim.disarm()
    if victim == server:
        field.site.serving.clear()
        field.note("point", f"the server died {point}", since)
        return
    field.site.expect_death(False)
    if victim is not None:
        runs = tuple({one.run_id for one in field.history.of(Deed) if one.pid == victim})
        who = "the supervisor" if victim in supervisors else f"process {victim}"
        field.note("point", f"{who} died {point}", since, runs=runs, all_runs=not runs)


def strike_database(field: Field) -> None:
    """The database is taken away, and comes back. No run may suffer from that."""
    since = time.monotonic()
    field.note("database", field.database.strike(field.chance), since)


def _frozen(processes: list[psutil.Process], seconds: float) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.suspend()
    try:
        time.sleep(seconds)
    finally:
        for process in processes:
            with suppress(psutil.Error):
                process.resume()


FAULTS: dict[str, Callable[[Field], None]] = {
    "server": kill_server,
    "worker": kill_worker,
    "supervisor": kill_supervisor,
    "parent": kill_parent,
    "freeze": freeze,
    "network": break_network,
    "disk": fill_disk,
    "clock": move_clock,
    "point": end_at_point,
    "database": strike_database,
}
"""What can be broken, by the name that `--faults` knows."""

SHIMMED = frozenset({"clock", "point"})
"""Those that a library does which is loaded into the processes."""


def impossible(database: Database) -> dict[str, str]:
    """The faults that cannot be had here, and why."""
    missing = {} if compiler() else dict.fromkeys(SHIMMED, "there is no C compiler, or this is not Linux")
    if not hasattr(resource, "prlimit"):
        missing["disk"] = "this is not Linux"
    if not database.url:
        missing["database"] = "SQLite has no server that could be taken away"
    return missing
