"""`make drill`: the long drill, on SQLite and on a PostgreSQL of its own, which is killed too.

A user's drill may not kill the database server that it is given; this one starts a server for itself.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil

from penstock.cli.drill import show
from penstock.drill.database import Database, PostgreSQL, SQLite
from penstock.drill.drill import Wanted, drill
from penstock.drill.faults import FAULTS, impossible
from tests.postgres import Cluster, installed


class Killed(PostgreSQL):
    """A database on a server of ours: all of its processes are killed, or stand still."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        super().__init__(cluster.database())

    def strike(self, chance: random.Random) -> str:
        """Kill -9 of every process of the server, which then starts again; or they stand still; or as a user would."""
        how = chance.choice(("kill", "freeze", "end"))
        if how == "end":
            return super().strike(chance)
        master = psutil.Process(int((self._cluster.directory / "data" / "postmaster.pid").read_text().split()[0]))
        family = [master, *master.children(recursive=True)]
        for process in family:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        if how == "freeze":
            time.sleep(chance.uniform(1.0, 5.0))
            for process in family:
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGCONT)
            return "every process of the server stood still"
        psutil.wait_procs(family, timeout=10)
        time.sleep(chance.uniform(0.0, 3.0))
        self._cluster.start()
        return "kill -9 of every process of the server"


def main() -> int:
    """Hold both drills; the exit status is 0 if every promise was kept in both."""
    parser = argparse.ArgumentParser(prog="python -m tools.drill", description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0, help="for each of the two databases")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--servers", type=int, default=2, help="on PostgreSQL")
    given = parser.parse_args()
    kept = True
    if given.only != "postgresql":
        kept &= _hold(SQLite(), given)
    if given.only != "sqlite":
        version, binaries = max(installed().items(), key=lambda one: int(one[0]))
        cluster = Cluster(Path(binaries), {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"})
        print(f"PostgreSQL {version}")
        try:
            with closing(Killed(cluster)) as database:
                kept &= _hold(database, given)
        finally:
            cluster.remove()
    return 0 if kept else 1


def _hold(database: Database, given: argparse.Namespace) -> bool:
    missing = impossible(database)
    faults = [one for one in FAULTS if one not in missing]
    wanted = Wanted(seconds=given.seconds, seed=given.seed, faults=faults, servers=given.servers if database.url else 1)
    print(f"{database.name}, servers: {wanted.servers}, seed {given.seed}; faults: {', '.join(faults)}.", flush=True)
    report = drill(wanted, database, say=lambda words: print(f"... {words}", flush=True))
    show(report)
    return report.passed


if __name__ == "__main__":
    sys.exit(main())
