"""The engine: calls the pipeline function, carries out its steps as they become ready, several at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from threading import Condition
from typing import Any

from penstock.author.composer import composer
from penstock.author.handle import Handle, handles_in, holds_handle
from penstock.author.invocations import InvocationIds
from penstock.author.pipeline import Pipeline
from penstock.author.schema import artifact_parameters, coerce
from penstock.author.step import Step
from penstock.errors import (
    AuthoringError,
    InvalidInput,
    PenstockError,
    RunCancelled,
    RunFailed,
    Stopped,
    TimedOut,
    fault,
    pointer,
)
from penstock.ids import new_id
from penstock.model.artifact import FROZEN, Artifact
from penstock.model.configuration import DEFAULT_MODE, ExecutionMode
from penstock.model.launch import Ticket
from penstock.runtime import hooks
from penstock.runtime.artifacts import UnmaterializedArtifact
from penstock.runtime.crew import Crew
from penstock.runtime.journal import Reporter
from penstock.runtime.layers import Layers
from penstock.runtime.results import Results
from penstock.runtime.returned import returned_as_json
from penstock.runtime.services import Outcome, Process, Services
from penstock.runtime.step import Call, carry_out
from penstock.runtime.streams import Printing
from penstock.runtime.task import COMPLETED, Task
from penstock.runtime.tracebacks import failure
from penstock.runtime.values import Kept, Stored
from penstock.runtime.watch import Interrupted, Watch, Work
from penstock.settings import Settings
from penstock.stack.contracts import ArtifactStore


class StepFailed(RunFailed):
    """The value of a step that did not complete was asked for."""


OPEN_STEPS = 1000
"""Of so many steps that have not ended, the pipeline function helps to carry some out before it may call more."""


class Engine:
    """Carries out one run of a pipeline in this process; a `Composer` for the steps that its function calls.

    Nothing here is shared between engines: any number of them may work in one process at once.
    """

    def __init__(
        self,
        ticket: Ticket,
        journal: Reporter,
        capture: Printing,
        store: ArtifactStore,
        *,
        services: Services,
        process: Process | None = None,
    ) -> None:
        """`process`, if the run has one for itself, is what ends it when nothing else stops its work."""
        self.run_id = ticket.run_id
        self.run_name = ticket.run_name
        self.pipeline = ticket.pipeline
        self.warm = services.warm
        self.state: Any = self.warm.state if self.warm is not None else None
        self.store = store
        self.values = services.values or Stored(store)
        self.heard = services.heard
        self.journal = journal
        self.capture = capture
        self.cache = services.cache
        self.secrets = services.secrets
        self._artifact_of_id = services.artifact
        self.watch = Watch(ticket.grace, self._stuck, crash=process.crash if process else None)
        self._ticket = ticket
        self._process = process
        self._layers: Layers | None = None
        self._ids = InvocationIds()
        self._tasks: dict[str, Task] = {}
        self._results = Results()
        self._open = 0
        """How many of them have not ended."""

        self._changed = Condition()
        sparing = self.warm is not None  # where there is one run after the other, a thread costs more than a small step
        self._crew = Crew(self._changed, ticket.parallel_steps, f"penstock-{ticket.run_name}", sparing=sparing)
        self._function = Work("")
        """The pipeline function, which this thread will call."""

        self._works: set[Work] = set()
        self._broken: BaseException | None = None
        """Why no other step starts."""

        self._failed: tuple[BaseException, str] | None = None
        """What the first step that failed raised, and which it was."""

    def carry_out(self, pipeline: Pipeline) -> Outcome:
        """Carry out the whole run; the steps are in the journal, the run's own end is left to the caller to write."""
        try:
            self._layers = self.warm.layers if self.warm is not None else Layers(pipeline, self._ticket.configuration)
            outcome = Outcome(self._hooked(pipeline, self._layers))
        except BaseException as error:  # noqa: BLE001  # the run must end in the record, whatever user code raised
            failed = self._failed
            step = failed[1] if failed is not None and error is failed[0] else None
            if step is None:
                self.capture.note(failure(error).traceback or str(error))
            outcome = Outcome(None, failure(error, step=step), error)
        finally:
            self.watch.close()
        for remark in self.cache.remarks():
            self.capture.note(f"penstock: {remark}")
        return outcome

    def cancel(self, error: RunCancelled | TimedOut | None = None) -> None:
        """No further step starts, waits end, and what is running is interrupted; all with `error`."""
        self._stop(error or RunCancelled(f"Run {self.run_name} was cancelled."))

    # The run

    def _hooked(self, pipeline: Pipeline, layers: Layers) -> dict[str, Any]:
        """The outputs of the run, with the pipeline's hooks called around it."""
        said = layers.run
        given = layers.function
        begun, error = False, None
        try:
            if said.on_init is not None and self.warm is None:
                self.state = hooks.call(said.on_init, given, said.on_init_kwargs)
            begun = self.warm is None
            hooks.notify(said.on_start, given, {}, self.capture)
            outputs = self._execute(pipeline)
        except BaseException as raised:
            error = raised
            if not isinstance(raised, RunCancelled):
                hooks.notify(said.on_failure, given, {"exception": raised}, self.capture)
            raise
        else:
            hooks.notify(said.on_success, given, {"outputs": outputs}, self.capture)
            return outputs
        finally:
            hooks.notify(said.on_end, given, {"exception": error}, self.capture)
            if begun:
                hooks.notify(said.on_cleanup, given, {"state": self.state}, self.capture)

    def _execute(self, pipeline: Pipeline) -> dict[str, Any]:
        """Call the pipeline function with the ticket's parameters, wait for all steps, return its outputs as JSON."""
        returned, limit = None, self._ticket.timeout
        with self.watch.after(limit, partial(self._late, limit)) if limit is not None else nullcontext():
            try:
                returned = self._called(pipeline)
            except BaseException as error:  # noqa: BLE001  # raised below, unless a step failed before: that says more
                self._function_failed(error)
            finally:
                self._drain()
        if self._failed is not None and not isinstance(self._broken, RunCancelled | TimedOut):
            raise self._failed[0]
        if self._broken is not None:
            raise self._broken
        self._check_all_used()
        outputs = pipeline.outputs(returned).items()
        return {name: returned_as_json(value, self._as_json) for name, value in outputs}

    def _called(self, pipeline: Pipeline) -> Any:
        """What the pipeline function returns. It can be interrupted, except while it is in our hands."""
        token = composer.set(self)
        work = self._function
        try:
            with self.at_work(work), work.under_way():
                return pipeline.function(**self._arguments(pipeline))
        except Interrupted:
            assert work.cause is not None
            raise work.cause from None
        finally:
            composer.reset(token)

    def _arguments(self, pipeline: Pipeline) -> dict[str, Any]:
        """The ticket's parameters as the function takes them; artifacts as what a step's result would be."""
        values = coerce(pipeline.function, self._ticket.parameters)
        for name, kind in artifact_parameters(pipeline.function).items():
            if isinstance(values.get(name), str):
                artifact = self._artifact_of_id(values[name].removeprefix(FROZEN))
                self._tasks[f"{FROZEN}{name}"] = COMPLETED
                self._results.add(f"{FROZEN}{name}", {name: Kept(artifact, foreign=True)})
                values[name] = Handle(f"{FROZEN}{name}", name, kind, self)
        return values

    def _function_failed(self, error: BaseException) -> None:
        """The pipeline function raised. If it only learned of a failed step, the other steps go on where they may."""
        if isinstance(error, StepFailed) and self._mode == "continue_on_failure" and self._failed is not None:
            return
        self._break(error)

    # Composer

    def submit(
        self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any], *, id: str | None, after: tuple[Any, ...]
    ) -> Any:
        """Take in one call of a step; it starts when everything it waits for has ended.

        Returns its handle(s) at once, unless very many steps are open: then some of them end first.
        """
        bound = step.bind(args, kwargs, partial=True)
        with self._function.paused():
            if self._open >= OPEN_STEPS:
                self._crew.work_until(lambda: self._open < OPEN_STEPS)
            invocation = self._taken_in(step, bound, id, after)
        return step.handles(invocation, self)

    def _taken_in(self, step: Step, bound: dict[str, Any], id: str | None, after: tuple[Any, ...]) -> str:
        with self._changed:
            invocation = self._ids.allocate(step.name, id)
            call = self._call(invocation, step, bound)
            upstream = frozenset({one.step for one in handles_in(bound)} | {self._known(one) for one in after})
            task = Task(call, upstream, {one for one in upstream if not self._tasks[one].ended})
            for one in task.waiting:
                self._tasks[one].waiters.append(task)
            self._tasks[invocation] = task
            self._open += 1
            self.journal.write(
                "step_declared",
                step=invocation,
                id=new_id(),
                name=step.name,
                upstream=tuple(sorted(one for one in upstream if not one.startswith(FROZEN))),
            )
            self._settle([task])
        return invocation

    def load(self, handle: Handle, wanted: Any = None) -> Any:
        """Wait for the step and return the value. Raises `StepFailed` if there is none."""
        task = self._tasks[handle.step]
        if not task.ended:
            with self._function.paused():
                self._crew.work_until(lambda: task.ended, only=self._needed(handle.step))
        if task.error is not None:
            raise StepFailed(f"Step {handle.step} did not complete, so it has no result.") from task.error
        return self._value(handle, wanted)

    # Ordering

    def _settle(self, tasks: Iterable[Task]) -> None:
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
                timed = task.call.configuration.timeout is not None
                self._crew.add(task.call.id, partial(self._carry_out, task), timed=timed)

    def _carry_out(self, task: Task) -> None:
        with self._changed:
            if self._broken is not None:
                self._settle(self._skip(task, "The run was ending."))
                return
        error: BaseException | None = None
        try:
            artifacts = self._artifacts(task)
            call = replace(task.call, artifacts=artifacts) if artifacts else task.call
            self._results.add(call.id, carry_out(call, self))
        except BaseException as raised:  # noqa: BLE001  # the thread must live on, whatever user code raises
            error = raised
        self._finish(task, error)

    def _finish(self, task: Task, error: BaseException | None) -> None:
        """The step has ended; what that means for the others depends on the mode of the run."""
        with self._changed:
            if task.ended:  # given up before, because nothing could stop it
                return
            self._settle(self._end(task, error))
            if error is None or isinstance(error, Stopped):
                return
            self._failed = self._failed or (error, task.call.id)
            if self._mode != "continue_on_failure" or not isinstance(error, Exception):
                self._broken = self._broken or error
        if self._mode == "fail_fast":
            self._stop(Stopped(f"Step {task.call.id} failed, and this run fails fast."))

    def _skip(self, task: Task, reason: str) -> list[Task]:
        self.journal.write("step_skipped", step=task.call.id, reason=reason)
        return self._end(task, StepFailed(f"Step {task.call.id} was skipped. {reason}"))

    def _end(self, task: Task, error: BaseException | None) -> list[Task]:
        """The task has ended; returns those that waited for it."""
        task.ended, task.error = True, error
        if error is None:
            self._tasks[task.call.id] = COMPLETED
        self._open -= 1
        for other in task.waiters:
            other.waiting.discard(task.call.id)
        self._changed.notify_all()
        return task.waiters

    # Stopping

    @property
    def _mode(self) -> ExecutionMode:
        return (self._layers.run.execution_mode if self._layers is not None else None) or DEFAULT_MODE

    def _late(self, limit: float) -> None:
        self._stop(TimedOut(f"Run {self.run_name} did not end within {limit} s."))

    def _stop(self, error: PenstockError) -> None:
        """From now on no step starts, and what is running is interrupted because of `error`."""
        self._break(error)
        with self._changed:
            works = list(self._works)
        for work in works:
            self.watch.interrupt(work, error)

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

    def _stuck(self, work: Work) -> None:
        """Nothing stops this work. A process of our own is ended with it; elsewhere it is given up, and left alone."""
        assert work.cause is not None
        told = f"{work.cause.detail} It could not be stopped, "
        if self._process is not None:
            error = type(work.cause)(told + "so its process was ended.")
            if work.name:
                self.journal.write("step_failed", step=work.name, error=failure(error, step=work.name))
            self._process.give_up(failure(error, step=work.name or None))
        elif work.name:
            error = type(work.cause)(told + "and goes on in the background of this process.")
            self.journal.write("step_failed", step=work.name, error=failure(error, step=work.name))
            self._finish(self._tasks[work.name], error)

    # Bench

    @contextmanager
    def at_work(self, work: Work) -> Iterator[None]:
        """See `Bench`."""
        with self._changed:
            if self._broken is not None:
                raise Stopped("The run was ending.")
            self._works.add(work)
        try:
            yield
        finally:
            with self._changed:
                self._works.discard(work)

    def rest(self, seconds: float) -> None:
        """See `Bench`."""
        with self._changed:
            if self._changed.wait_for(lambda: self._broken is not None, timeout=seconds):
                broken = self._broken
                raise broken if isinstance(broken, RunCancelled | TimedOut) else Stopped("The run was ending.")

    # Values

    def _call(self, invocation: str, step: Step, bound: dict[str, Any]) -> Call:
        """The call with the values that were given for this very step put in the place of those in the code."""
        assert self._layers is not None
        given = self._ticket.step_parameters.get(invocation, {})
        for name in given:
            at = pointer("steps", invocation, "parameters", name)
            if name not in step.parameters():
                mistake = fault(at, "The step has no such parameter.", allowed=step.parameters(), given=name)
                raise InvalidInput(f"Step {invocation} has no parameter '{name}'.", errors=[mistake])
            if holds_handle(bound.get(name)):
                mistake = fault(at, "This input is made by another step; it is no parameter.")
                raise InvalidInput(f"'{name}' of step {invocation} cannot be given.", errors=[mistake])
        arguments = {**bound, **given}
        missing = step.signature.missing(arguments)
        if missing:
            faults = [
                fault(
                    pointer("steps", invocation, "parameters", name), "Neither the pipeline nor who started it gave it."
                )
                for name in missing
            ]
            raise InvalidInput(f"Step {invocation} lacks a value for {', '.join(missing)}.", errors=faults)
        return Call(
            invocation,
            step,
            arguments,
            self._layers.of_step(step, invocation),
            partial(self._layers.function_of_step, step),
            own_policy=self._layers.has_own_policy(step, invocation),
        )

    def _needed(self, step: str) -> set[str]:
        """This step and everything that it waits for, however far up."""
        needed, new = set[str](), {step}
        while new:
            needed |= new
            new = {one for step in new for one in self._tasks[step].upstream} - needed
        return needed

    def _known(self, after: Any) -> str:
        name = after.step if isinstance(after, Handle) else str(after)
        if name not in self._tasks:
            known = ", ".join(one for one in self._tasks if not one.startswith(FROZEN)) or "none yet"
            raise AuthoringError(f"after={name!r}: no step of this id was called before. Called so far: {known}.")
        return name

    def _artifacts(self, task: Task) -> dict[str, Artifact]:
        arguments = task.call.arguments.items()
        return {name: self.artifact(value) for name, value in arguments if isinstance(value, Handle)}

    def artifact(self, handle: Handle) -> Artifact:
        """See `Bench`."""
        return self._results.of(handle.step, handle.output).artifact

    def _as_json(self, handle: Handle) -> Any:
        return self.values.as_json(self._results.of(handle.step, handle.output))

    def _value(self, handle: Handle, wanted: Any) -> Any:
        """The value behind a handle; one that could be changed is loaded afresh for everybody who asks."""
        kept = self._results.of(handle.step, handle.output)
        if wanted is UnmaterializedArtifact:
            return UnmaterializedArtifact(kept.artifact, self.store)
        if kept.shared:
            return kept.value
        # Code-bearing values are safe if this very run wrote them: the store checks their digest.
        allowed = not kept.foreign or Settings.load().allow_pickle
        return self.values.load(kept, wanted, allow_code=allowed)

    def _check_all_used(self) -> None:
        unused = [step for step in self._ticket.step_parameters if step not in self._tasks]
        if unused:
            faults = [
                fault(pointer("steps", step), "The run came to no such step.", allowed=list(self._tasks), given=step)
                for step in unused
            ]
            raise InvalidInput("Parameters were given for steps that never ran.", errors=faults)
