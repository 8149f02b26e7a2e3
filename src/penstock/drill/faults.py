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
from penstock.drill.installation import Site
from penstock.drill.proxy import ILLS, Ill, Proxy
from penstock.drill.records import Blow, Deed, History
from penstock.drill.shim import POINTS, Shim, compiler


@dataclass(frozen=True)
class Place:
    """What a fault has to work on: a server, the network to it, and what it works on."""

    site: Site
    history: History
    network: Proxy
    shim: Shim | None
    database: Database
    chance: Random

    def note(self, fault: str, what: str, since: float, *, runs: tuple[str, ...] = (), all_runs: bool = False) -> None:
        """Write down a blow that is over now."""
        blow = Blow(fault=fault, what=what, at=since, until=time.monotonic(), runs=runs, all_runs=all_runs)
        self.history.add(blow)


def kill_server(place: Place) -> None:
    """Kill -9 of the server. No run may suffer from that: they are carried out by others."""
    since = time.monotonic()
    place.site.kill()
    place.site.serving.wait(60)
    place.note("server", "kill -9 of the server", since)


def restart(place: Place) -> None:
    """SIGTERM to the server, which leaves in good order and is started again. Nothing may suffer from that."""
    since = time.monotonic()
    place.site.restart()
    place.site.serving.wait(60)
    place.note("restart", "SIGTERM to the server", since)


def kill_worker(place: Place) -> None:
    """Kill -9 of a process of a run. That run may fail, and no other."""
    until = time.monotonic() + 3.0
    while not (running := place.site.marked()) and time.monotonic() < until:
        time.sleep(0.02)
    if not running:
        return
    since = time.monotonic()
    run_id = place.chance.choice(sorted(running))
    victim = place.chance.choice(running[run_id])
    with suppress(psutil.Error):
        victim.kill()
    place.note("worker", f"kill -9 of process {victim.pid} of run {run_id}", since, runs=(run_id,))


def kill_supervisor(place: Place) -> None:
    """Kill -9 of the supervisor. The runs in its care may fail: nobody knows how far they came."""
    since = time.monotonic()
    for victim in place.site.supervisors():
        with suppress(psutil.Error):
            victim.kill()
        place.note("supervisor", f"kill -9 of the supervisor {victim.pid}", since, all_runs=True)


def kill_parent(place: Place) -> None:
    """Kill -9 of a warm parent. Runs that it has forked may fail with it."""
    since = time.monotonic()
    parents = place.site.warm_parents()
    if parents:
        victim = place.chance.choice(parents)
        with suppress(psutil.Error):
            victim.kill()
        place.note("parent", f"kill -9 of the warm parent {victim.pid}", since, all_runs=True)


def freeze(place: Place) -> None:
    """SIGSTOP and SIGCONT: of the server for longer than a lease, which nobody may notice; of all others for less or more."""
    since = time.monotonic()
    if place.chance.random() < 0.5:
        _frozen([psutil.Process(place.site.pid())], place.chance.uniform(0.2, 1.5 * place.site.lease))
        place.note("freeze", "the server stood still", since)
        return
    seconds = place.chance.choice((place.site.lease / 4, 2 * place.site.lease))
    others = [one for one in place.site.processes() if one.pid != place.site.pid()]
    _frozen(others, seconds)
    place.note("freeze", f"all workers stood still for {seconds:.1f} s", since, all_runs=seconds > place.site.lease / 2)


def break_network(place: Place) -> None:
    """The network between clients and the server refuses, resets, swallows answers, stalls or drips for a while."""
    since = time.monotonic()
    ill = place.chance.choice(ILLS)
    place.network.fall_ill(ill)
    try:
        time.sleep(place.chance.uniform(0.5, 4.0))
    finally:
        place.network.fall_ill(Ill.NOTHING)
    place.note("network", ill.value, since)


def fill_disk(place: Place) -> None:
    """No file can grow: for the server alone, which no run may suffer from, or for everybody."""
    since = time.monotonic()
    everybody = place.chance.random() < 0.5
    _limit([psutil.Process(place.site.pid())] if not everybody else place.site.processes(), 0)
    try:
        time.sleep(place.chance.uniform(0.5, 3.0))
    finally:
        _limit(place.site.processes(), resource.RLIM_INFINITY)
    place.note("disk", "no file could grow" + ("" if everybody else " for the server"), since, all_runs=everybody)


def _limit(processes: list[psutil.Process], size: int) -> None:
    for process in processes:
        with suppress(psutil.Error, OSError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def move_clock(place: Place) -> None:
    """The wall clock of every process jumps by an hour or a day, forth or back, and later jumps home again."""
    assert place.shim is not None
    since = time.monotonic()
    seconds = place.chance.choice((3600, -3600, 86400, -86400))
    place.shim.shift(seconds)
    try:
        time.sleep(place.chance.uniform(0.5, 6.0))
    finally:
        place.shim.shift(0)
    place.note("clock", f"{seconds:+d} s", since)


def end_at_point(place: Place) -> None:
    """One process is ended (SIGKILL) right before or after something is on disk for good."""
    assert place.shim is not None
    since = time.monotonic()
    point = place.chance.choice(list(POINTS))
    server, supervisors = place.site.pid(), {one.pid for one in place.site.supervisors()}
    place.site.expect_death(True)
    place.shim.arm(point, place.chance.randrange(1, 40))
    victim = place.shim.victim(3.0)
    place.shim.disarm()
    if victim == server:
        place.site.serving.clear()
        place.note("point", f"the server died {point}", since)
        return
    place.site.expect_death(False)
    if victim is not None:
        runs = tuple({one.run_id for one in place.history.of(Deed) if one.pid == victim})
        who = "the supervisor" if victim in supervisors else f"process {victim}"
        place.note("point", f"{who} died {point}", since, runs=runs, all_runs=not runs)


def strike_database(place: Place) -> None:
    """The database is taken away, and comes back. No run may suffer from that."""
    since = time.monotonic()
    place.note("database", place.database.strike(place.chance), since)


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


FAULTS: dict[str, Callable[[Place], None]] = {
    "server": kill_server,
    "restart": restart,
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

WEATHER = frozenset({"network", "disk", "clock", "database"})
"""Those that last for a while and end nobody: they go on while others strike."""

SHIMMED = frozenset({"clock", "point"})
"""Those that a library does which is loaded into the processes."""


def impossible(database: Database) -> dict[str, str]:
    """The faults that cannot be had here, and why."""
    missing = {} if compiler() else dict.fromkeys(SHIMMED, "there is no C compiler")
    if not database.url:
        missing["database"] = "SQLite has no server that could be taken away"
    return missing
