"""The engine: calls the pipeline function, carries out its steps as they become ready, several at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from penstock.author.composer import composer
from penstock.author.handle import Handle
from penstock.author.invocations import InvocationIds
from penstock.author.pipeline import Pipeline
from penstock.author.schema import coerce
from penstock.author.step import Step
from penstock.errors import AuthoringError, InvalidInput, RunCancelled, RunFailed, fault, pointer
from penstock.ids import new_id
from penstock.model.launch import Ticket
from penstock.model.run import Failure
from penstock.runtime import materializers
from penstock.runtime.crew import Crew
from penstock.runtime.journal import Journal
from penstock.runtime.logs import Capture
from penstock.runtime.step import Call, Kept, Workbench, carry_out, holds_handle
from penstock.runtime.tracebacks import failure
from penstock.stack.contracts import ArtifactStore


class StepFailed(RunFailed):
    """The value of a step that did not complete was asked for."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its outputs as JSON, or the failure and what user code raised."""

    outputs: dict[str, Any] | None
    error: Failure | None = None
    raised: BaseException | None = None


@dataclass
class _Task:
    """One invocation on its way: what it waits for, and how it ended. Changed only under the engine's lock."""

    call: Call
    upstream: frozenset[str]
    waiting: set[str]
    waiters: list[_Task] = field(default_factory=list)
    kept: dict[str, Kept] = field(default_factory=dict)
    ended: bool = False
    error: BaseException | None = None


class Engine:
    """Carries out one run of a pipeline in this process; a `Composer` for the steps that its function calls.

    Nothing here is shared between engines: any number of them may work in one process at once.
    """

    def __init__(self, ticket: Ticket, journal: Journal, capture: Capture, store: ArtifactStore) -> None:
        self._ticket = ticket
        self._journal = journal
        self._store = store
        self._bench = Workbench(ticket.run_id, store, journal, capture, self._value)
        self._ids = InvocationIds()
        self._tasks: dict[str, _Task] = {}
        self._open = 0
        """How many of them have not ended."""

        self._changed = threading.Condition()
        self._crew = Crew(self._changed, ticket.parallel_steps, f"penstock-{ticket.run_name}")
        self._broken: BaseException | None = None
        self._failed_step: str | None = None
        self._threads: set[int] = set()

    def carry_out(self, pipeline: Pipeline) -> Outcome:
        """Carry out the whole run; the steps are in the journal, the run's own end is left to the caller to write."""
        try:
            return Outcome(self._execute(pipeline))
        except BaseException as error:  # noqa: BLE001  # the run must end in the record, whatever user code raised
            step = self._failed_step if error is self._broken else None
            if step is None:
                self._bench.capture.note(failure(error).traceback or str(error))
            return Outcome(None, failure(error, step=step), error)

    def _execute(self, pipeline: Pipeline) -> dict[str, Any]:
        """Call the pipeline function with the ticket's parameters, wait for all steps, return its outputs as JSON."""
        returned = None
        token = composer.set(self)
        try:
            returned = pipeline.function(**coerce(pipeline.function, self._ticket.parameters))
        except BaseException as error:  # noqa: BLE001  # raised below, unless a step failed before: that says more
            self._break(error)
        finally:
            composer.reset(token)
            self._drain()
        if self._broken is not None:
            raise self._broken
        self._check_all_used()
        return {name: self._shown(value) for name, value in pipeline.outputs(returned).items()}

    def cancel(self) -> None:
        """No further step starts, waits end with `RunCancelled`, and so do running steps at their next line of Python.

        For runs in the caller's own process, which cannot be killed; a launched run is stopped as a process.
        """
        self._break(RunCancelled(f"Run {self._ticket.run_name} was cancelled."))
        with self._changed:
            threads = set(self._threads)
        for thread in threads:
            _interrupt(thread)

    # Composer

    def submit(
        self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any], *, id: str | None, after: tuple[Any, ...]
    ) -> Any:
        """Take in one call of a step; it starts when everything it waits for has ended. Returns its handle(s) at once."""
        bound = step.bind(args, kwargs)
        with self._changed:
            invocation = self._ids.allocate(step.name, id)
            call = self._call(invocation, step, bound)
            upstream = frozenset(_upstream(bound)) | {self._known(one) for one in after}
            task = _Task(call, upstream, {one for one in upstream if not self._tasks[one].ended})
            for one in task.waiting:
                self._tasks[one].waiters.append(task)
            self._tasks[invocation] = task
            self._open += 1
            self._journal.write(
                "step_declared", step=invocation, id=new_id(), name=step.name, upstream=tuple(sorted(upstream))
            )
            self._settle([task])
        return step.handles(invocation, self)

    def load(self, handle: Handle) -> Any:
        """Wait for the step and return the value. Raises `StepFailed` if there is none."""
        task = self._tasks[handle.step]
        self._crew.work_until(lambda: task.ended, only=self._needed(handle.step))
        if task.error is not None:
            raise StepFailed(f"Step {handle.step} did not complete, so it has no result.") from task.error
        return self._value(handle, None)

    # Ordering

    def _settle(self, tasks: Iterable[_Task]) -> None:
        """Start those of these tasks that are ready, skip those that can never be, and so on with who waits for them."""
        look = deque(tasks)
        while look:
            task = look.popleft()
            if task.waiting or task.ended:
                continue
            failed = sorted(one for one in task.upstream if self._tasks[one].error is not None)
            if failed:
                look.extend(self._skip(task, f"Step {failed[0]} did not complete."))
            elif self._broken is not None:
                look.extend(self._skip(task, "The run was ending."))
            else:
                self._crew.add(task.call.id, partial(self._carry_out, task))

    def _carry_out(self, task: _Task) -> None:
        thread = threading.get_ident()
        with self._changed:
            if self._broken is not None:
                self._settle(self._skip(task, "The run was ending."))
                return
            self._threads.add(thread)
        try:
            call = replace(task.call, artifacts=self._artifacts(task))
            task.kept = carry_out(call, self._bench)
            error: BaseException | None = None
        except BaseException as raised:  # noqa: BLE001  # the thread must live on, whatever user code raises
            error = raised
        with self._changed:
            self._threads.discard(thread)
            if error is not None and self._broken is None:
                self._broken, self._failed_step = error, task.call.id
            self._settle(self._end(task, error))

    def _skip(self, task: _Task, reason: str) -> list[_Task]:
        self._journal.write("step_skipped", step=task.call.id, reason=reason)
        return self._end(task, StepFailed(f"Step {task.call.id} was skipped. {reason}"))

    def _end(self, task: _Task, error: BaseException | None) -> list[_Task]:
        """The task has ended; returns those that waited for it."""
        task.ended, task.error = True, error
        self._open -= 1
        for other in task.waiters:
            other.waiting.discard(task.call.id)
        self._changed.notify_all()
        return task.waiters

    def _break(self, error: BaseException) -> None:
        """From now on no step starts; those that wait for running ones are skipped when these have ended."""
        with self._changed:
            self._broken = self._broken or error
            self._changed.notify_all()

    def _drain(self) -> None:
        """See to it that every submitted step ends."""
        try:
            self._crew.work_until(lambda: self._open == 0)
        except BaseException as error:  # noqa: BLE001  # Ctrl-C while waiting: what runs is waited for, nothing starts
            self._break(error)
            self._crew.work_until(lambda: self._open == 0)
        finally:
            with self._changed:
                self._crew.close()

    def _needed(self, step: str) -> set[str]:
        """This step and everything that it waits for, however far up."""
        needed, new = set[str](), {step}
        while new:
            needed |= new
            new = {one for step in new for one in self._tasks[step].upstream} - needed
        return needed

    # Values

    def _call(self, invocation: str, step: Step, bound: dict[str, Any]) -> Call:
        """The call with the values that were given for this very step put in the place of those in the code."""
        given = self._ticket.step_parameters.get(invocation, {})
        for name in given:
            at = pointer("steps", invocation, "parameters", name)
            if name not in step.parameters():
                mistake = fault(at, "The step has no such parameter.", allowed=step.parameters(), given=name)
                raise InvalidInput(f"Step {invocation} has no parameter '{name}'.", errors=[mistake])
            if holds_handle(bound.get(name)):
                mistake = fault(at, "This input is made by another step; it is no parameter.")
                raise InvalidInput(f"'{name}' of step {invocation} cannot be given.", errors=[mistake])
        return Call(invocation, step, {**bound, **given})

    def _known(self, after: Any) -> str:
        name = after.step if isinstance(after, Handle) else str(after)
        if name not in self._tasks:
            known = ", ".join(self._tasks) or "none yet"
            raise AuthoringError(f"after={name!r}: no step of this id was called before. Called so far: {known}.")
        return name

    def _artifacts(self, task: _Task) -> dict[str, str]:
        return {
            name: self._kept(value).artifact.id
            for name, value in task.call.arguments.items()
            if isinstance(value, Handle)
        }

    def _kept(self, handle: Handle) -> Kept:
        return self._tasks[handle.step].kept[handle.output]

    def _value(self, handle: Handle, wanted: Any) -> Any:
        """The value behind a handle; one that could be changed is loaded afresh for everybody who asks."""
        kept = self._kept(handle)
        if kept.shared:
            return kept.value
        # Code-bearing values are safe here: this very run wrote them, and the store checks their digest.
        return materializers.load(kept.artifact, self._store, type_hint=wanted, allow_code=True)

    def _shown(self, value: Any) -> Any:
        """A returned value for the run's record: JSON as it is, everything else as a reference to its artifact."""
        if isinstance(value, dict):
            return {str(key): self._shown(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._shown(item) for item in value]
        if not isinstance(value, Handle):
            return _plain(value)
        kept = self._kept(value)
        inline = materializers.inline(kept.artifact, self._store)
        if inline is not None:
            return inline.value
        return {"artifact": kept.artifact.id, "type": kept.artifact.type}

    def _check_all_used(self) -> None:
        unused = [step for step in self._ticket.step_parameters if step not in self._tasks]
        if unused:
            faults = [
                fault(pointer("steps", step), "The run came to no such step.", allowed=list(self._tasks), given=step)
                for step in unused
            ]
            raise InvalidInput("Parameters were given for steps that never ran.", errors=faults)


def _plain(value: Any) -> Any:
    """A constant that a pipeline function returned: JSON as it is, everything else by the name of its type."""
    is_json = value is None or isinstance(value, str | int | float | bool)
    return value if is_json else {"type": f"{type(value).__module__}.{type(value).__qualname__}"}


def _upstream(value: Any) -> set[str]:
    """The invocations whose results stand somewhere inside `value`."""
    if isinstance(value, Handle):
        return {value.step}
    if isinstance(value, dict):
        return set().union(*map(_upstream, value.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(_upstream, value))
    return set()


def _interrupt(thread: int) -> None:
    """Raise `RunCancelled` in another thread at its next bytecode (CPython's documented `PyThreadState_SetAsyncExc`)."""
    import ctypes  # only a cancelled in-process run needs it

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(RunCancelled))
