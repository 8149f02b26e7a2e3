"""The one function that carries out a step: resolve the inputs, call the user's function, keep the outputs, report."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from penstock.author.composer import composer
from penstock.author.handle import Handle
from penstock.author.schema import coerce
from penstock.author.step import Step
from penstock.client.runs import inside_step
from penstock.ids import new_id
from penstock.model.artifact import Artifact
from penstock.runtime.journal import Journal
from penstock.runtime.logs import Capture
from penstock.runtime.materializers import save
from penstock.runtime.tracebacks import failure
from penstock.stack.contracts import ArtifactStore

_SHARED = (str, int, float, bool, bytes, type(None))
"""Types whose values cannot be changed: steps may share them in memory, everything else is loaded afresh."""

_INLINE_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Kept:
    """One output of a step that has ended: its record, and the value itself where sharing it is harmless."""

    artifact: Artifact
    value: Any = None
    shared: bool = False


@dataclass(frozen=True)
class Workbench:
    """What every step of a run uses."""

    run_id: str
    store: ArtifactStore
    journal: Journal
    capture: Capture
    load: Callable[[Handle, Any], Any]
    """Loads the value behind a handle, as a type."""


@dataclass(frozen=True)
class Call:
    """One invocation, ready to be carried out: its arguments are constants and handles of steps that have ended."""

    id: str
    step: Step
    arguments: Mapping[str, Any]
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Argument -> id of the artifact that it is."""


def carry_out(call: Call, bench: Workbench) -> dict[str, Kept]:
    """Run one step and return its outputs by name. Whatever the user's code raises is reported and raised again."""
    given = {name: value for name, value in call.arguments.items() if not holds_handle(value)}
    bench.journal.write("step_started", step=call.id, parameters=_shown(given), inputs=dict(call.artifacts))
    with _inside(bench.run_id, call.id), bench.capture.step(call.id):
        try:
            result = _called(call.step.function, _resolved(call, given, bench))
            kept = _keep(call, result, bench)
        except BaseException as error:
            told = failure(error, step=call.id)
            bench.capture.note(told.traceback or told.message)
            bench.journal.write("step_failed", step=call.id, error=told)
            raise
    bench.journal.write("step_completed", step=call.id, outputs={name: one.artifact.id for name, one in kept.items()})
    return kept


def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """What the user's function returns. A process that it forks ends here: it is no second run of what follows."""
    process = os.getpid()
    try:
        result = function(**arguments)
    except BaseException as error:
        if os.getpid() != process:
            _end_fork(error)
        raise
    if os.getpid() != process:
        _end_fork(None)
    return result


def _end_fork(error: BaseException | None) -> NoReturn:
    """End a forked process as the interpreter would, without our threads, which stayed with its parent."""
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)


@contextmanager
def _inside(run_id: str, step: str) -> Iterator[None]:
    """In here steps are plain functions, and a run that is triggered knows this step as its parent."""
    composing, parent = composer.set(None), inside_step.set((run_id, step))
    try:
        yield
    finally:
        composer.reset(composing)
        inside_step.reset(parent)


def holds_handle(value: Any) -> bool:
    """Whether `value` is a handle, or a list, tuple or mapping with one inside."""
    if isinstance(value, Handle):
        return True
    if isinstance(value, dict):
        return any(holds_handle(item) for item in value.values())
    return isinstance(value, list | tuple) and any(holds_handle(item) for item in value)


def _resolved(call: Call, given: dict[str, Any], bench: Workbench) -> dict[str, Any]:
    """The arguments for the user's function: constants as the annotated types, handles as the values they stand for."""
    values = coerce(call.step.function, given, at=("steps", call.id, "parameters"))
    for name, value in call.arguments.items():
        if name not in given:
            values[name] = _loaded(value, call.step.annotation(name), bench)
    return values


def _loaded(value: Any, wanted: Any, bench: Workbench) -> Any:
    if isinstance(value, Handle):
        return bench.load(value, wanted)
    if isinstance(value, dict):
        return {key: _loaded(item, None, bench) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_make"):  # a named tuple takes its fields one by one
        return value._make(_loaded(item, None, bench) for item in value)
    if isinstance(value, list | tuple):
        return type(value)(_loaded(item, None, bench) for item in value)
    return value


def _keep(call: Call, result: Any, bench: Workbench) -> dict[str, Kept]:
    kept = {}
    for name, value in call.step.split(result).items():
        artifact = save(value, bench.store, id=new_id(), run_id=bench.run_id, step=call.id, output=name)
        bench.journal.write("artifact", step=call.id, output=name, artifact=artifact)
        shared = isinstance(value, _SHARED) and artifact.size <= _INLINE_LIMIT
        kept[name] = Kept(artifact, value if shared else None, shared)
    return kept


def _shown(given: Mapping[str, Any]) -> dict[str, Any]:
    """The constant arguments for the record; what is no JSON is named by its type."""
    return {name: value if _is_json(value) else f"<{type(value).__qualname__}>" for name, value in given.items()}


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)
