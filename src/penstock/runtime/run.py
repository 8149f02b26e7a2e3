"""One run in a process of its own: what a launcher starts, from the ticket to the reported end."""

from __future__ import annotations

import faulthandler
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn, TextIO

from penstock.author.direct import importing
from penstock.author.source import load_source
from penstock.client.transport import Transport
from penstock.errors import Conflict, PenstockError, ServerUnreachable
from penstock.model.artifact import Artifact
from penstock.model.launch import Ticket
from penstock.model.run import Batch, Failure, LogLine, Receipt
from penstock.model.stack import Component
from penstock.model.wire import reader
from penstock.runtime.cache import Resumed, StepCache, asking, taking
from penstock.runtime.engine import Engine
from penstock.runtime.journal import Journal
from penstock.runtime.logs import Capture
from penstock.runtime.secrets import Secrets
from penstock.runtime.services import Outcome, Process, Services
from penstock.runtime.spool import Spool, crash_path
from penstock.runtime.tracebacks import failure
from penstock.runtime.workplace import code_path
from penstock.stack.contracts import ArtifactStore
from penstock.stack.registry import build

REFUSED = 75
"""Exit status of a process whose claim on the run was refused: it stops without a word more (EX_TEMPFAIL, sysexits.h)."""

UNHEARD = 69
"""Exit status of a process that could not tell the server how its run ended (EX_UNAVAILABLE)."""


def main(ticket: Ticket) -> int:
    """Carry out the run of `ticket` in this process and report it. Returns the exit status: 0 completed, 1 failed."""
    claim = (ticket.home, ticket.run_id, ticket.fence)
    journal = Journal(sender(ticket), ticket.fence, spool=Spool(*claim))
    terminal = os.dup(2)  # the output of the process itself, which the capture below takes away
    try:
        journal.begin(worker_facts(), refused=lambda error: _die(error, terminal))
    except (Conflict, ServerUnreachable) as error:
        print(f"penstock: run {ticket.run_name} is not started here: {error.detail}", file=sys.stderr)
        return REFUSED
    if ticket.notes:
        journal.log([LogLine(at=datetime.now(UTC), stream="stderr", text=f"penstock: {note}") for note in ticket.notes])
    with (
        Capture(journal.log, own_process=True, tee=False, mask=journal.mask) as capture,
        _crashes_noted(crash_path(*claim)) as crash,
    ):
        process = Process(crash, partial(_give_up, journal)) if crash is not None else None
        outcome = _carry_out(ticket, journal, capture, process)
    try:
        journal.end(outcome.outputs, outcome.error)
    except (Conflict, ServerUnreachable) as error:
        print(f"penstock: the end of run {ticket.run_name} could not be reported: {error.detail}", file=sys.stderr)
        return UNHEARD
    return 0 if outcome.error is None else 1


def sender(ticket: Ticket) -> Callable[[Batch], Receipt]:
    """The function that delivers batches of this run to its server."""
    transport = Transport(ticket.server, ticket.token, timeout=max(30.0, 3 * ticket.lease))
    decode = reader(Receipt)
    path = f"/runs/{ticket.run_id}/events"
    return lambda batch: decode(transport.request("POST", path, json=batch).body)


def worker_facts() -> dict[str, object]:
    """Where a run takes place, for its record."""
    return {"pid": os.getpid(), "host": platform.node(), "python": platform.python_version()}


def artifact_store(ticket: Ticket) -> ArtifactStore:
    """The artifact store that the ticket names."""
    store = build("artifact_store", ticket.artifact_store)
    assert isinstance(store, ArtifactStore)
    return store


def services_of(ticket: Ticket, journal: Journal, store: ArtifactStore, root: Path) -> Services:
    """What the run of `ticket` needs of its server and of its secret store; its code lies in `root`."""
    transport = Transport(ticket.server, ticket.token)
    decode = reader(Artifact)
    secrets = ticket.secret_store or Component(flavor="file", options={"path": f"{ticket.home}/secrets"})
    return Services(
        cache=StepCache(
            ticket.pipeline_id, asking(transport), store, root, _resumed(ticket, transport), ticket.requires
        ),
        secrets=Secrets(build("secret_store", secrets), journal),
        artifact=lambda identity: decode(transport.request("GET", f"/artifacts/{identity}").body),
    )


def _resumed(ticket: Ticket, transport: Transport) -> Resumed | None:
    if ticket.resumes is None:
        return None
    return Resumed(ticket.resumes, frozenset(ticket.again), taking(transport))


def _carry_out(ticket: Ticket, journal: Journal, capture: Capture, process: Process | None) -> Outcome:
    try:
        for name in ticket.preload:
            import_module(name)
        with importing(ticket.source):
            pipeline = load_source(ticket.source, code_path(ticket.home, str(ticket.code)))
        store = artifact_store(ticket)
        services = services_of(ticket, journal, store, Path.cwd())
        engine = Engine(ticket, journal, capture, store, services=services, process=process)
    except BaseException as error:  # noqa: BLE001  # importing the user's module can raise anything
        return Outcome(None, failure(error), error)
    return engine.carry_out(pipeline)


@contextmanager
def _crashes_noted(path: Path) -> Iterator[TextIO | None]:
    """Have the interpreter write where it is into this file if it crashes, for the supervisor to find."""
    try:
        file = path.open("w")
    except OSError:  # no room: a crash will have less to say
        yield None
        return
    with file:
        faulthandler.enable(file)
        try:
            yield file
        finally:
            faulthandler.disable()
    path.unlink(missing_ok=True)


def _give_up(journal: Journal, error: Failure) -> NoReturn:
    """Something in here cannot be stopped: report the end of the run, and end with it."""
    with suppress(Conflict, ServerUnreachable):
        journal.end(None, error)
    os._exit(1)


def _die(error: PenstockError, terminal: int) -> None:
    """The run belongs to somebody else now: stop at once, whatever user code is doing."""
    with suppress(OSError):
        os.write(terminal, f"penstock: {error.detail} This process stops.\n".encode())
    os._exit(REFUSED)
