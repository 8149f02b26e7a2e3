"""A drill from beginning to end: an installation of its own, clients, faults, and the verdict."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from penstock.drill import survey
from penstock.drill.checker import KINDS, Finding, check
from penstock.drill.database import Database
from penstock.drill.faults import FAULTS, SHIMMED, Field
from penstock.drill.installation import LEASE, Site
from penstock.drill.load import Clients
from penstock.drill.proxy import Proxy
from penstock.drill.records import Answer, Blow, Death, Deed, History, Order, Told
from penstock.drill.shim import Shim, compiler
from penstock.drill.witness import Witness

PATIENCE = 60.0
"""Seconds after the last fault in which every run has to end, and every client to get its answer."""

_PROBES = 1_000_000
"""Orders from this number on are not the clients' own: they try out the installation before and after."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What kind of drill it is to be. The same seed wants the same orders and the same faults."""

    seconds: float
    seed: int
    faults: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """How a drill went. `counts` has each kind of broken promise; all are 0 when all is well."""

    seed: int
    seconds: float
    database: str
    faults: dict[str, int]
    sendings: int
    unanswered: int
    promised: int
    runs: dict[str, int]
    steps: int
    slowest_return: float
    counts: dict[str, int]
    findings: list[Finding] = field(default_factory=list)
    kept: str | None = None
    """Where everything that happened is written down; only if something was found, or if that was asked for."""

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return not self.findings


def drill(
    wanted: Wanted, database: Database, *, keep: bool = False, say: Callable[[str], None] = lambda _: None
) -> Report:
    """Hold a drill on this database, which is for it alone. `say` is told what goes on."""
    directory = _directory()
    history = History()
    began = time.monotonic()
    try:
        _hold(wanted, database, directory, history, say)
        findings = check(history, lease=LEASE)
    except BaseException:
        history.keep(directory / "history.jsonl")
        say(f"The drill itself broke; what there is lies in {directory}.")
        raise
    kept = keep or bool(findings)
    if kept:
        history.keep(directory / "history.jsonl")
    else:
        shutil.rmtree(directory)
    seconds = round(time.monotonic() - began, 1)
    return _report(wanted.seed, seconds, database.name, history, findings, str(directory) if kept else None)


def _directory() -> Path:
    """A folder for everything. Sockets lie in it, whose paths have 107 bytes at most."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="pkd-", dir=usual if len(os.fsencode(usual)) < 70 else "/tmp"))  # noqa: S108 (made private)


def _hold(wanted: Wanted, database: Database, directory: Path, history: History, say: Callable[[str], None]) -> None:
    shim = _shim(wanted, directory)
    with (
        closing(Witness(directory, history)) as witness,
        _site(directory, history, database.url, shim) as site,
        closing(Proxy(site.port)) as network,
    ):
        say("setting up")
        site.equip(Path(__file__).with_name("witnessed.py"))
        clients = Clients(history, network.port, site.key, witness.path, wanted.seed)
        clients.place(Order(number=_PROBES, key="first"))  # the first one of all starts a supervisor, which takes long
        survey.settled(site, PATIENCE)
        survey.check_slots(clients, history, _PROBES + 1)
        before = survey.descriptors(site)
        say(f"breaking things for {wanted.seconds:g} s")
        clients.start()
        _break(wanted, Field(site, history, Random(f"{wanted.seed}:faults"), network, shim, database))
        say("waiting for everything to end")
        clients.finish(PATIENCE)
        survey.settled(site, PATIENCE)
        survey.check_offspring(site, history)
        survey.check_slots(clients, history, _PROBES + 1000)
        survey.settled(site, PATIENCE)
        survey.check_descriptors(before, survey.descriptors(site), history, pooled=bool(database.url))
        say("asking what is there")
        survey.ask_everything(site, history)
        site.stop()
        survey.check_remains(site, history)
        survey.check_database(site, history)
        survey.check_logs(site, history)


def _break(wanted: Wanted, place: Field) -> None:
    """Break one thing after the other, for so long."""
    until = time.monotonic() + wanted.seconds
    while True:
        pause = place.chance.uniform(0.3, 2.5)
        if time.monotonic() + pause > until:
            return
        time.sleep(pause)
        place.site.serving.wait(PATIENCE)
        FAULTS[place.chance.choice(list(wanted.faults))](place)


def _shim(wanted: Wanted, directory: Path) -> Shim | None:
    """What moves clocks and ends processes at points, if that is wanted."""
    found = compiler()
    return Shim(directory, found) if found is not None and SHIMMED & set(wanted.faults) else None


@contextmanager
def _site(directory: Path, history: History, database: str, shim: Shim | None) -> Iterator[Site]:
    """A running installation, of which nothing is left afterwards, whatever happens."""
    site = Site(directory, history, database=database, preload=shim.environment if shim else None)
    try:
        site.start()
        yield site
    finally:
        site.abandon()


def _report(
    seed: int, seconds: float, database: str, history: History, findings: list[Finding], kept: str | None
) -> Report:
    kinds = Counter(one.kind for one in findings)
    answers = history.of(Answer)
    return Report(
        seed=seed,
        seconds=seconds,
        database=database,
        faults=dict(Counter(one.fault for one in history.of(Blow))),
        sendings=len(answers),
        unanswered=sum(one.status is None for one in answers),
        promised=survey.promised(history),
        runs=dict(Counter(one.state for one in history.of(Told))),
        steps=sum(one.event == "begin" for one in history.of(Deed)),
        slowest_return=round(max((one.back or 0.0 for one in history.of(Death)), default=0.0), 2),
        counts={kind: kinds[kind] for kind in KINDS},
        findings=findings,
        kept=kept,
    )
