"""A pipeline kept warm: its code imported, its state made once, and a pool of threads that carry out requests."""

from __future__ import annotations

import asyncio
import math
import os
import platform
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from penstock.author.pipeline import Pipeline
from penstock.client.transport import Transport
from penstock.errors import RunCancelled, ServerUnreachable, TimedOut, Unavailable
from penstock.model.artifact import Artifact
from penstock.model.configuration import laid_over
from penstock.model.deployment import Plan
from penstock.model.launch import Ticket
from penstock.model.stack import Component
from penstock.model.wire import reader
from penstock.runtime import hooks, loops
from penstock.runtime.engine import Engine
from penstock.runtime.layers import Layers
from penstock.runtime.secrets import Secrets
from penstock.runtime.services import Services, Warm
from penstock.runtime.step import Cache, Heard
from penstock.runtime.tracebacks import failure
from penstock.runtime.values import InMemory
from penstock.serve.hands import Hands
from penstock.serve.inputs import Inputs, Wanted
from penstock.serve.jobs import Job, Result
from penstock.serve.measures import Measures
from penstock.serve.recording import Recording
from penstock.stack.registry import build

Track = Callable[[Recording], None]

SOON = 0.1
"""Seconds in which most requests end. Whether the caller is there still is looked at from then on: to watch takes a task."""


class _NoCache:
    """Every request is carried out: who asks a service wants an answer of now."""

    resumes = False

    def look(self, *_: Any) -> tuple[None, None]:
        """Nothing is looked for."""
        return None, None

    def remarks(self) -> list[str]:
        """There is nothing to say."""
        return []


class Service:
    """Carries out requests for one pipeline. `track` takes the record of each; `loop` is where coroutines run."""

    def __init__(
        self, plan: Plan, pipeline: Pipeline, *, track: Track, measures: Measures, loop: asyncio.AbstractEventLoop
    ) -> None:
        content = plan.snapshot.content
        self.plan = plan
        self.settings = plan.settings
        self.pipeline = pipeline
        self.pipeline_name = content.pipeline
        self.loop = loop
        self.inputs = Inputs(plan.snapshot)
        self.measures = measures
        self.facts = {"pid": os.getpid(), "host": platform.node(), "python": platform.python_version()}
        self.ready = False
        self.draining = False
        self._track = track
        self._said = laid_over(content.configuration, content.given)
        self._warm = Warm(Layers(pipeline, content.given))
        self._cache: Cache = _NoCache()
        self._store = build("artifact_store", plan.artifact_store or _files(plan, "artifacts"))
        self._secrets = build("secret_store", plan.secret_store or _files(plan, "secrets"))
        self._in_memory = InMemory(self._store)
        self._transport = Transport(plan.server, plan.token or None) if plan.server else None
        self._hands = Hands[Result](self.settings.thread_pool_size, "penstock-serve", loop)
        self._later = Hands[Result](self.settings.async_execution_thread_pool_size, "penstock-submitted", loop)
        self._mean = 0.0
        self._jobs: set[Job] = set()

    # Life

    def start(self) -> None:
        """Call `on_init` and the startup hook; requests may come when this has returned. Raises what they raise."""
        said = self._warm.layers.run
        loops.home.set(self.loop)
        if said.on_init is not None:
            state = hooks.call(said.on_init, self._warm.layers.function, said.on_init_kwargs)
            self._warm = Warm(self._warm.layers, state)
        self._hook(self.settings.startup_hook, self.settings.startup_hook_kwargs)
        self.ready = True

    def leave(self) -> None:
        """Take nothing more. To be called on the loop."""
        self.ready, self.draining = False, True
        self._hands.leave()
        self._later.leave()

    def close(self) -> None:
        """After `leave`: let requests under way end, within the time to drain; then call the shutdown hook and `on_cleanup`."""
        ended = threading.Event()
        threading.Thread(target=self._join, args=(ended,), daemon=True).start()
        if not ended.wait(self.settings.drain):
            for job in list(self._jobs):
                job.interrupt()
            ended.wait(self.plan.grace)
        loops.home.set(self.loop)
        said = self._warm.layers.run
        try:
            self._hook(self.settings.shutdown_hook, self.settings.shutdown_hook_kwargs)
        finally:
            if said.on_cleanup is not None:
                hooks.call(said.on_cleanup, self._warm.layers.function, {"state": self._warm.state})

    def _join(self, ended: threading.Event) -> None:
        self._hands.join()
        self._later.join()
        ended.set()

    def _hook(self, hook: Any, given: dict[str, Any]) -> None:
        if hook is not None:
            hooks.call(hook, self._warm.layers.function, {"service": self, **given})

    @property
    def state(self) -> Any:
        """What `on_init` returned."""
        return self._warm.state

    @property
    def busy(self) -> int:
        """Requests that are open."""
        return len(self._jobs)

    # Requests

    async def answered(self, job: Job, gone: Callable[[], Any] | None = None) -> Result:
        """The result of the job, within the time for requests. `gone` is awaited besides: it returns when the caller has left.

        Raises `Unavailable` if there is too much to do. To be called on the loop of the service.
        """
        self._admit()
        return await self._carried_out(job, self._hands, self.settings.timeout, gone)

    async def answered_later(self, job: Job) -> Result:
        """The same for a submitted request, which has waited elsewhere: it has threads of its own, and more time."""
        return await self._carried_out(job, self._later, self.settings.submit_timeout)

    async def _carried_out(
        self, job: Job, hands: Hands[Result], timeout: float | None, gone: Callable[[], Any] | None = None
    ) -> Result:
        answer: asyncio.Future[Result] = self.loop.create_future()
        hands.carry_out(job.carry_out, partial(self._ended, job, answer))
        self._jobs.add(job)
        soon = SOON if timeout is None else min(SOON, timeout)
        attending = self.loop.call_later(soon, self._attend, job, answer, timeout, gone)
        try:
            return await answer
        except asyncio.CancelledError:
            job.stop(RunCancelled("The request was cancelled."))
            raise
        finally:
            attending.cancel()

    def _attend(
        self, job: Job, answer: asyncio.Future[Result], timeout: float | None, gone: Callable[[], Any] | None
    ) -> None:
        """From now on, until it is answered, the job is stopped when its time is up or its caller leaves."""
        if answer.done():
            return
        ends: list[asyncio.TimerHandle | asyncio.Task[None]] = []
        if timeout is not None:
            late, left = TimedOut(f"The request did not end within {timeout:g} s."), max(0.0, timeout - SOON)
            ends.append(self.loop.call_later(left, job.stop, late))
            last = timeout + self.plan.grace
            ends.append(self.loop.call_later(left + self.plan.grace, _give_up, job, answer, late, last))
        if gone is not None:
            ends.append(self.loop.create_task(self._heed(gone, job)))
        answer.add_done_callback(lambda _: [one.cancel() for one in ends])

    def engine(self, wanted: Wanted, recording: Recording, heard: Heard | None) -> Engine:
        """What carries out one request, in the thread that calls this."""
        plan = self.plan
        keeps = self.settings.keep_artifacts and not wanted.in_memory
        services = Services(
            cache=self._cache,
            secrets=Secrets(self._secrets, recording),
            artifact=self._artifact,
            values=None if keeps else self._in_memory,
            heard=heard,
            warm=self._warm,
        )
        return Engine(self._ticket(wanted, recording, plan), recording, recording, self._store, services=services)

    def _ticket(self, wanted: Wanted, recording: Recording, plan: Plan) -> Ticket:
        content = plan.snapshot.content
        return Ticket(
            run_id=recording.id,
            run_name=recording.name,
            fence=1,
            pipeline=content.pipeline,
            source=content.source,
            code=content.code,
            parameters=wanted.parameters,
            step_parameters=wanted.steps,
            configuration=content.given,
            artifact_store=plan.artifact_store or Component(flavor="file"),
            server=plan.server,
            token="",
            home=plan.home,
            lease=0,
            grace=plan.grace,
            parallel_steps=plan.parallel_steps,
        )

    def _artifact(self, identity: str) -> Artifact:
        if self._transport is None:
            raise ServerUnreachable("This service has no server to ask for artifacts.")
        return reader(Artifact)(self._transport.request("GET", f"/artifacts/{identity}").body)

    def _admit(self) -> None:
        if self.draining or not self.ready:
            raise Unavailable("This service is not ready for requests.", headers={"Retry-After": "1"})
        waiting = self._hands.waiting
        if waiting >= self.settings.queue_size:
            self.measures.refused.inc()
            turn = (waiting + 1) / self.settings.thread_pool_size * self._mean
            headers = {"Retry-After": str(max(1, min(120, math.ceil(turn))))}
            raise Unavailable("There are more requests than this service can take. Come back later.", headers=headers)

    def _ended(self, job: Job, answer: asyncio.Future[Result], result: Result) -> None:
        self._count(job, result)
        if not answer.done():
            answer.set_result(result)

    def _count(self, job: Job, result: Result) -> None:
        self._jobs.discard(job)
        if job.later:
            if job.interrupted and result.error is not None:
                return  # it is begun again, and recorded then
        else:
            self._mean += 0.1 * (result.seconds - self._mean)
        self.measures.answered(result.status, result.seconds)
        sample = self.settings.sample
        if result.error is not None or sample >= 1 or random.random() < sample:  # noqa: S311  # a sample, no secret
            self._track(job.recording)

    async def _heed(self, gone: Callable[[], Any], job: Job) -> None:
        await gone()
        job.stop(RunCancelled("The caller has hung up."))


def _give_up(job: Job, answer: asyncio.Future[Result], late: TimedOut, seconds: float) -> None:
    """The work cannot be stopped: it goes on in its thread, and the caller is answered."""
    if not answer.done():
        answer.set_result(Result(job, b"null", seconds, failure(late), late))


def _files(plan: Plan, name: str) -> Component:
    return Component(flavor="file", options={"path": str(Path(plan.home) / name)})
