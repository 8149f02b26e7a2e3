"""The one function that carries out a step: resolve the inputs, look for earlier results, call, try again, keep, report."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol

import msgspec

from penstock.author.composer import composer
from penstock.author.handle import Handle, holds_handle
from penstock.author.schema import coerce
from penstock.author.step import Step
from penstock.client.runs import inside_step
from penstock.errors import ArtifactError, PenstockError, RunCancelled, Stopped
from penstock.ids import check_name
from penstock.model.artifact import Artifact
from penstock.model.cache import CacheNote, Earlier, canonical, digest
from penstock.model.configuration import StepConfiguration, filled_in
from penstock.model.graph import Output
from penstock.runtime import environment, hooks
from penstock.runtime.calling import called
from penstock.runtime.context import StepContext, current, get_step_context
from penstock.runtime.journal import Reporter
from penstock.runtime.secrets import Secrets
from penstock.runtime.streams import Printing
from penstock.runtime.tracebacks import failure
from penstock.runtime.traces import step_span
from penstock.runtime.values import Kept, Values
from penstock.runtime.watch import Watch, Work
from penstock.stack.contracts import ArtifactStore

_TOLD_ITEMS = 1000
"""Of a step that yields, so many items are told to those who watch; all are kept."""

_TOLD_SIZE = 4096


Heard = Callable[[str, str, int, Any], None]
"""Called with the invocation, the output, the number of the item and the item, in the thread of the step."""


class Cache(Protocol):
    """Looks for earlier results."""

    resumes: bool
    """Whether results of one certain run are taken over, of steps that ask for no cache, too."""

    def look(
        self, call: Call, given: Mapping[str, Any], artifact_of: Callable[[Handle], Artifact]
    ) -> tuple[CacheNote | None, Earlier | None]:
        """What is known of this call, if anything was looked for, and the results to take, if there are any. `given` are its constant arguments."""

    def remarks(self) -> list[str]:
        """What whoever said how to cache should hear at the end of the run."""


class Bench(Protocol):
    """What every step of a run uses: the engine as its steps see it."""

    run_id: str
    run_name: str
    pipeline: str
    state: Any
    """What the `on_init` hook returned."""

    store: ArtifactStore
    values: Values
    journal: Reporter
    capture: Printing
    watch: Watch
    cache: Cache
    secrets: Secrets
    heard: Heard | None
    """Who listens to the items of steps that yield, if anybody does."""

    def load(self, handle: Handle, wanted: Any) -> Any:
        """The value behind a handle, as a type."""

    def artifact(self, handle: Handle) -> Artifact:
        """The record of what is behind a handle of a step that has ended."""

    def at_work(self, work: Work) -> AbstractContextManager[None]:
        """While this work is done: it is interrupted if the run is stopped. Raises `Stopped`, if it is stopped already."""

    def rest(self, seconds: float) -> None:
        """Wait between two attempts. Raises why, if the run is stopped meanwhile."""


@dataclass(frozen=True, slots=True)
class Call:
    """One invocation, ready to be carried out: its arguments are constants and handles of steps that have ended."""

    id: str
    step: Step
    arguments: Mapping[str, Any]
    configuration: StepConfiguration = field(default_factory=StepConfiguration)
    function: Callable[[str], Callable[..., Any] | None] = lambda _: None
    """A function that the code has named, by that name."""

    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    """Argument -> the artifact that it is."""

    own_policy: bool = False
    """Its cache policy was said of this very step, not of all steps."""

    @property
    def wants_cache(self) -> bool:
        """A policy asks for the cache, unless it is switched off."""
        if self.configuration.enable_cache is not None:
            return self.configuration.enable_cache
        return self.configuration.cache_policy is not None

    def context(self, bench: Bench) -> StepContext:
        """What the code of the step may know of where it is."""
        return StepContext(
            run_id=bench.run_id,
            run_name=bench.run_name,
            pipeline_name=bench.pipeline,
            step=self.id,
            step_name=self.step.name,
            inputs=self.artifacts,
            extra=self.configuration.extra,
            pipeline_state=bench.state,
            store=bench.store,
            journal=bench.journal,
        )


def carry_out(call: Call, bench: Bench) -> dict[str, Kept]:
    """Run one step, or take its earlier results; returns its outputs by name.

    Whatever the user's code raises is reported and, if there is no retry left, raised again.
    """
    given = {name: value for name, value in call.arguments.items() if not holds_handle(value)}
    told = {
        "parameters": recorded(call, bench.artifact),
        "inputs": {name: one.id for name, one in call.artifacts.items() if one.id},
    }
    note = None
    if bench.cache.resumes or call.wants_cache:
        note, earlier = bench.cache.look(call, given, bench.artifact)
        if earlier is not None:
            outputs = {name: one.id for name, one in earlier.outputs.items()}
            bench.journal.write("step_cached", step=call.id, outputs=outputs, cache=note, **told)
            return {name: Kept(artifact, foreign=True) for name, artifact in earlier.outputs.items()}
    context = call.context(bench)
    with _inside(context), step_span(call.id, call.step.name), bench.capture.step(call.id):
        kept = _attempts(call, given, bench, lambda number: _begun(call, bench, number, told, note))
    made = {name: one.artifact.id for name, one in kept.items()} if bench.values.recorded else {}
    bench.journal.write("step_completed", step=call.id, outputs=made)
    return kept


def _begun(call: Call, bench: Bench, attempt: int, told: Mapping[str, Any], note: CacheNote | None) -> None:
    bench.journal.write("step_started", step=call.id, attempt=attempt, cache=note, **told)


def _attempts(call: Call, given: dict[str, Any], bench: Bench, begin: Callable[[int], None]) -> dict[str, Kept]:
    """Try until it works, or until the retries are used up; the last error is raised."""
    for attempt in count(1):
        begin(attempt)
        try:
            kept = _attempt(call, given, bench, attempt)
        except BaseException as error:
            wait = _wait(call.configuration, attempt, error)
            told = failure(error, step=call.id)
            if not isinstance(error, RunCancelled | Stopped):
                bench.capture.note(told.traceback or told.message)
            if wait is not None:
                bench.journal.write("step_retrying", step=call.id, error=told, attempt=attempt, delay=wait)
                bench.capture.note(f"penstock: attempt {attempt} failed; again in {wait:.3g} s.")
                try:
                    bench.rest(wait)
                except PenstockError as stopped:
                    _end(call, bench, stopped)
                    raise
                continue
            _end(call, bench, error)
            raise
        _notify(call, bench, "on_success", {})
        _notify(call, bench, "on_end", {"exception": None})
        return kept
    raise AssertionError  # `count` has no end


def _wait(configuration: StepConfiguration, attempt: int, error: BaseException) -> float | None:
    """Seconds until the next attempt; None if there is none."""
    retry = configuration.retry
    if retry is None or attempt > retry.max_retries or isinstance(error, RunCancelled | Stopped):
        return None
    if not retry.concerns(error):
        return None
    return retry.wait_before(attempt, random.random())  # noqa: S311  # it only spreads the load


def _end(call: Call, bench: Bench, error: BaseException) -> None:
    """Report that the step has not completed, and tell its hooks."""
    if isinstance(error, RunCancelled | Stopped):
        bench.journal.write("step_cancelled", step=call.id, reason=str(error))
    else:
        bench.journal.write("step_failed", step=call.id, error=failure(error, step=call.id))
        _notify(call, bench, "on_failure", {"exception": error})
    _notify(call, bench, "on_end", {"exception": error})


def _notify(call: Call, bench: Bench, hook: str, offered: Mapping[str, Any]) -> None:
    hooks.notify(getattr(call.configuration, hook), call.function, offered, bench.capture)


def _attempt(call: Call, given: dict[str, Any], bench: Bench, attempt: int) -> dict[str, Kept]:
    """One try, within its time. What interrupts it is raised as its cause, whatever user code made of that."""
    work, configuration = Work(call.id), call.configuration
    context = current.get()
    assert context is not None
    token = current.set(context if attempt == 1 else replace(context, attempt=attempt, noted={}))
    try:
        with (
            environment.variables(bench.secrets.variables(configuration.secrets, configuration.environment)),
            bench.at_work(work),
            bench.watch.limited(work, configuration.timeout, f"Step {call.id}"),
        ):
            _notify(call, bench, "on_start", {})
            result = called(call.step.function, _resolved(call, given, bench), work)
            kept = _keep(call, result, bench)
    except BaseException as error:
        if work.cause is not None:
            raise work.cause.with_traceback(error.__traceback__) from None
        raise
    finally:
        current.reset(token)
    if work.cause is not None:  # it ended all the same, just too late
        raise work.cause
    return kept


@contextmanager
def _inside(context: StepContext) -> Iterator[None]:
    """In here steps are plain functions, and a run that is triggered knows this step as its parent."""
    composing, parent = composer.set(None), inside_step.set((context.run_id, context.step, context.journal.flush))
    token = current.set(context)
    try:
        yield
    finally:
        current.reset(token)
        composer.reset(composing)
        inside_step.reset(parent)


def _resolved(call: Call, given: dict[str, Any], bench: Bench) -> dict[str, Any]:
    """The arguments for the user's function: constants as the annotated types, handles as the values they stand for."""
    values: dict[str, Any] = bench.secrets.filled_in(
        coerce(call.step.function, given, at=("steps", call.id, "parameters"))
    )
    for name, value in call.arguments.items():
        if name not in given:
            values[name] = _loaded(value, call.step.annotation(name), bench)
    return values


def _loaded(value: Any, wanted: Any, bench: Bench) -> Any:
    if isinstance(value, Handle):
        return bench.load(value, wanted)
    if isinstance(value, dict):
        return {key: _loaded(item, None, bench) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_make"):  # a named tuple takes its fields one by one
        return value._make(_loaded(item, None, bench) for item in value)
    if isinstance(value, list | tuple):
        return type(value)(_loaded(item, None, bench) for item in value)
    return value


def _keep(call: Call, result: Any, bench: Bench) -> dict[str, Kept]:
    kept, outputs = {}, {output.name: output for output in call.step.outputs()}
    raised: list[BaseException] = []
    if call.step.signature.yields:
        result = _told(result, call, bench, raised)
    for name, value in call.step.split(result).items():
        try:
            saved = bench.values.save(value, run_id=bench.run_id, step=call.id, output=name)
        except ArtifactError:
            if raised:  # it was not the saving that failed
                raise raised[0] from None
            raise
        if bench.values.recorded:
            saved = replace(saved, artifact=_labelled(saved.artifact, outputs[name], call))
            bench.journal.write("artifact", step=call.id, output=name, artifact=saved.artifact)
        kept[name] = saved
    return kept


def _labelled(artifact: Artifact, output: Output, call: Call) -> Artifact:
    """The record with what its output's annotation and the step's code say of it."""
    said, context = output.artifact, get_step_context()
    notes = {**context.noted.get("", {}), **context.noted.get(output.name, {})}
    if said is None:
        return replace(artifact, user_metadata=notes) if notes else artifact
    name = said.name
    if name is not None and "{" in name:
        name = filled_in(name, call.configuration.substitutions, artifact.created, where=f"/steps/{call.id}")
    return replace(
        artifact,
        name=check_name(name, what="artifact") if name is not None else None,
        version=said.version,
        tags=said.tags,
        user_metadata={**said.run_metadata, **notes},
    )


def _told(items: Iterator[Any], call: Call, bench: Bench, raised: list[BaseException]) -> Iterator[Any]:
    """The items of a step that yields, on their way to the store; the first ones are told to those who watch the run.

    What the user's code raises meanwhile is noted in `raised`.
    """
    (output,) = call.step.outputs()
    try:
        for index, item in enumerate(items):
            if bench.heard is not None:
                bench.heard(call.id, output.name, index, item)
            if index < _TOLD_ITEMS:
                values = {"index": index} | ({"value": item} if _is_small(item) else {})
                bench.journal.write("item", step=call.id, output=output.name, values=values)
            yield item
    except GeneratorExit:
        raise
    except BaseException as error:
        raised.append(error)
        raise


def _is_small(item: Any) -> bool:
    return _is_json(item) and len(msgspec.json.encode(item)) <= _TOLD_SIZE


def recorded(call: Call, artifact_of: Callable[[Handle], Artifact]) -> dict[str, Any]:
    """The arguments that are no single artifacts, as the record has them. What is no JSON is named by its type.

    Artifacts inside of lists and mappings stand by their ids; where that takes much room, by a digest of it all.
    """
    arguments = call.arguments.items()
    return {name: _recorded(value, artifact_of) for name, value in arguments if not isinstance(value, Handle)}


def _recorded(value: Any, artifact_of: Callable[[Handle], Artifact]) -> Any:
    whole = _with_ids(value, artifact_of) if holds_handle(value) else value
    if not _is_json(whole):
        return f"<{type(value).__qualname__}>"
    if whole is value:
        return value
    text = canonical(whole)
    return whole if len(text) <= _TOLD_SIZE else {"digest": digest(text)}


def _with_ids(value: Any, artifact_of: Callable[[Handle], Artifact]) -> Any:
    if isinstance(value, Handle):
        return {"artifact": artifact_of(value).id}
    if isinstance(value, dict):
        return {key: _with_ids(item, artifact_of) for key, item in value.items()}
    return [_with_ids(item, artifact_of) for item in value] if isinstance(value, list | tuple) else value


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)
