"""The faults: each breaks one thing of the installation from outside, mends it, and notes what that excuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import psutil

from penstock.drill.installation import LEASE, Site
from penstock.drill.records import Blow, History


@dataclass(frozen=True)
class Field:
    """What a fault has to work on."""

    site: Site
    history: History
    chance: Random

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
}
"""What can be broken, by the name that `--faults` knows."""
