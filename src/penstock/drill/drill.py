"""A drill from beginning to end: an installation of its own, clients, faults, and the verdict."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from penstock.drill import survey
from penstock.drill.checker import KINDS, Finding, check
from penstock.drill.database import Database
from penstock.drill.faults import FAULTS, SHIMMED, WEATHER, Place
from penstock.drill.installation import LEASE, LEASE_OF_MANY, SLOTS, Site
from penstock.drill.load import Clients, Whom
from penstock.drill.proxy import Proxy
from penstock.drill.receiver import Receiver
from penstock.drill.records import Answer, Blow, Death, Deed, History, Told
from penstock.drill.shim import Shim, compiler
from penstock.drill.witness import Witness
from penstock.errors import PenstockError

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
    servers: int = 1
    """So many servers, each with a home of its own, work on one database; SQLite takes one."""


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
    if sys.platform != "linux":
        raise PenstockError("A drill needs Linux: it looks at processes through /proc, and limits them with prlimit.")
    directory = _directory()
    history = History()
    began = time.monotonic()
    try:
        _hold(wanted, database, directory, history, say)
        findings = check(history, lease=LEASE if wanted.servers == 1 else LEASE_OF_MANY)
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
    with ExitStack() as stack:
        witness = stack.enter_context(closing(Witness(directory, history)))
        receiver = stack.enter_context(closing(Receiver(history)))
        places = [
            stack.enter_context(_place(wanted, database, directory / str(n), history)) for n in range(wanted.servers)
        ]
        sites = [one.site for one in places]
        say("setting up")
        for site in sites:
            site.start()
        key = sites[0].equip(Path(__file__).with_name("witnessed.py"))
        whom = Whom(str(witness.path), receiver.url)
        clients = Clients(history, [one.network.port for one in places], key, whom, wanted.seed)
        clients.warm_up(_PROBES, SLOTS * len(sites))
        survey.settled(sites, PATIENCE)
        survey.check_slots(clients, witness, history, _PROBES + 1000, SLOTS * len(sites))
        before = [survey.descriptors(one) for one in sites]
        say(f"breaking things for {wanted.seconds:g} s")
        clients.start()
        _break(wanted, places)
        say("waiting for everything to end")
        clients.finish(PATIENCE)
        survey.settled(sites, PATIENCE)
        survey.check_offspring(sites, history)
        survey.all_told(history, PATIENCE)
        survey.check_slots(clients, witness, history, _PROBES + 2000, SLOTS * len(sites))
        survey.settled(sites, PATIENCE)
        for site, opened in zip(sites, before, strict=True):
            survey.check_descriptors(opened, survey.descriptors(site), history, pooled=bool(database.url))
        say("asking what is there")
        survey.ask_everything(sites[0], history)
        for site in sites:
            site.stop()
        survey.check_remains(sites, history)
        survey.check_database(sites[0], history)


@contextmanager
def _place(wanted: Wanted, database: Database, directory: Path, history: History) -> Iterator[Place]:
    """A server with what it takes to break it. Nothing of it is left afterwards, whatever happens."""
    directory.mkdir()
    compile_with = compiler() if SHIMMED & set(wanted.faults) else None
    shim = Shim(directory, compile_with) if compile_with is not None else None
    shared = directory.with_name("shared") if wanted.servers > 1 else None
    site = Site(directory, history, database=database.url, shared=shared, preload=shim.environment if shim else None)
    try:
        with closing(Proxy(site.port)) as network:
            yield Place(site, history, network, shim, database, Random(wanted.seed))
    finally:
        site.abandon()


def _break(wanted: Wanted, places: list[Place]) -> None:
    """Break one thing after the other, for so long: what ends processes in one lane, what makes the weather in another."""
    until, leaving = time.monotonic() + wanted.seconds, threading.Event()
    lanes = [[name for name in wanted.faults if (name in WEATHER) is weather] for weather in (False, True)]
    with ThreadPoolExecutor(2, "lane") as workers:
        under_way = [
            workers.submit(_lane, faults, Random(f"{wanted.seed}:{faults}"), places, until, leaving)
            for faults in lanes
            if faults
        ]
        try:
            for lane in under_way:
                lane.result()
        finally:
            leaving.set()


def _lane(faults: list[str], chance: Random, places: list[Place], until: float, leaving: threading.Event) -> None:
    while True:
        pause = chance.uniform(0.3, 2.5)
        if time.monotonic() + pause > until or leaving.wait(pause):
            return
        place, fault = chance.choice(places), chance.choice(faults)
        place.site.serving.wait(PATIENCE)
        FAULTS[fault](replace(place, chance=chance))


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
