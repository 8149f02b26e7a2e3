"""A run in the caller's own process: what happens when a person calls a pipeline."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

from penstock.author.freeze import freeze
from penstock.author.pipeline import Pipeline
from penstock.author.schema import artifact_parameters
from penstock.author.source import locate
from penstock.client.client import Client
from penstock.errors import InvalidInput, PenstockError, fault, pointer
from penstock.model.artifact import FROZEN
from penstock.model.launch import Ticket
from penstock.model.requirements import Requirements
from penstock.model.run import Event, Run
from penstock.model.secret import ADVICE, is_reference
from penstock.runtime import terminal
from penstock.runtime.artifacts import keep
from penstock.runtime.engine import Engine
from penstock.runtime.journal import Journal
from penstock.runtime.logs import Capture
from penstock.runtime.progress import told
from penstock.runtime.run import artifact_store, sender, services_of, worker_facts
from penstock.runtime.tracebacks import strip
from penstock.settings import Settings


def run(pipeline: Pipeline, parameters: Mapping[str, Any]) -> Run:
    """Freeze `pipeline`, carry it out here, and return the ended run with its outputs.

    What the user's code raises is raised again, with a note that names the run. Any number of threads may do this at
    once, with the same pipeline or others.
    """
    client = Client()
    frozen = freeze(pipeline, lenient=True)
    if frozen.content.environment.requires is not None:
        _say_what_does_not_fit(frozen.content.environment.requires)
    archive = frozen.archive.tar if frozen.archive is not None else None
    try:
        snapshot = client.snapshots.create(frozen.content, archive=archive)
        started, ticket = client.runs.claim(snapshot_id=snapshot.id, parameters=_given(pipeline, parameters, client))
    except PenstockError as error:
        raise error.with_traceback(None) from None  # what is wrong is in its words, not in our lines
    begun = time.monotonic()
    __tracebackhide__ = True  # IPython and pytest leave out frames that say so
    raised = _carry_out(pipeline, ticket, client)
    ended = client.runs.get(started.id)
    _say(f"run {ended.name} {ended.state} in {time.monotonic() - begun:.1f} s")
    if raised is not None:
        raised.add_note(f"In run {ended.name}: `penstock run show {ended.name}` has its steps and logs.")
        raise strip(raised)
    return ended


def _carry_out(pipeline: Pipeline, ticket: Ticket, client: Client) -> BaseException | None:
    journal = Journal(sender(ticket), ticket.fence, heartbeat=ticket.lease / 4)
    with _progress() as heard, Capture(journal.log, own_process=False, tee=True, mask=journal.mask) as capture:
        store = artifact_store(ticket)
        services = services_of(ticket, journal, store, locate(pipeline).root or Path.cwd())
        engine = Engine(ticket, journal, capture, store, services=services)

        def refused(error: PenstockError) -> None:
            _say(f"run {ticket.run_name} is no longer ours: {error.detail}")
            engine.cancel()

        journal.begin(worker_facts(), refused=refused, stop=engine.cancel, heard=heard)
        outcome = engine.carry_out(pipeline)
    if isinstance(outcome.raised, KeyboardInterrupt):
        with suppress(PenstockError):  # whoever pressed Ctrl-C wanted no failure
            client.runs.cancel(ticket.run_id)
    journal.end(outcome.outputs, outcome.error)
    return outcome.raised


def _progress() -> AbstractContextManager[Callable[[Event], None] | None]:
    """Somebody who tells a person what is going on; nobody where no person looks on."""
    seen = sys.stderr is not None and sys.stderr.isatty() and not Settings.load().quiet
    return told(sys.stderr) if seen else nullcontext()


def _given(pipeline: Pipeline, parameters: Mapping[str, Any], client: Client) -> dict[str, Any]:
    """The parameters as they can be sent: a secret that holds a reference is that reference, and no other is sent.

    The value of a parameter that is to be an artifact is kept as one first.
    """
    given, artifacts = {}, artifact_parameters(pipeline.function)
    for name, value in parameters.items():
        if name in artifacts and value is not None and not isinstance(value, str):
            given[name] = f"{FROZEN}{keep(value, client).id}"
            continue
        given[name] = _plain(value, name)
    return given


def _plain(value: Any, parameter: str) -> Any:
    """`value` with paths, pydantic models and references to secrets in it as what JSON has; the client writes all else."""
    if isinstance(value, PurePath):
        return str(value)
    hidden = getattr(value, "get_secret_value", None)
    if hidden is not None:
        if not is_reference(str(hidden())):
            mistake = fault(pointer("parameters", parameter), ADVICE)
            raise InvalidInput(f"A secret is given in parameter '{parameter}'.", errors=[mistake])
        return hidden()
    dump = getattr(type(value), "model_dump", None)
    if dump is not None:
        return dump(value, mode="json", by_alias=True) | _secrets_of_model(value, parameter)
    if is_dataclass(value) and not isinstance(value, type) and _holds_secret(value):
        return {one.name: _plain(getattr(value, one.name), parameter) for one in fields(value)}
    if type(value) in (list, tuple):
        return [_plain(item, parameter) for item in value]
    return {key: _plain(item, parameter) for key, item in value.items()} if type(value) is dict else value


def _secrets_of_model(model: Any, parameter: str) -> dict[str, Any]:
    """The fields of a pydantic model with a secret in them, which its own dump blots out."""
    members = {name: getattr(model, name) for name in type(model).model_fields}
    aliases = {name: one.serialization_alias or one.alias or name for name, one in type(model).model_fields.items()}
    return {aliases[name]: _plain(value, parameter) for name, value in members.items() if _holds_secret(value)}


def _holds_secret(value: Any) -> bool:
    if hasattr(value, "get_secret_value"):
        return True
    if isinstance(value, dict):
        return any(map(_holds_secret, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_secret, value))
    if isinstance(value, type):
        return False
    names = [one.name for one in fields(value)] if is_dataclass(value) else getattr(type(value), "model_fields", ())
    return any(_holds_secret(getattr(value, name, None)) for name in names)


def _say_what_does_not_fit(requires: Requirements) -> None:
    # Reading requirements, for the few pipelines that have some.
    from penstock.runtime.fitting import fit
    from penstock.runtime.inquiries import Question

    found = fit(Question(requires=requires)).misfits
    if found:
        _say(f"this Python does not fit: {'; '.join(found)}. A pipeline that is called runs where it is called.")


def _say(text: str) -> None:
    if not Settings.load().quiet:
        terminal.show_line(sys.stderr, f"penstock: {text}")
