"""How a run is started over HTTP, the same for every address: body, idempotency, waiting, and the answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from penstock.control import callbacks, decisions, reach, replays, runs
from penstock.control.idempotency import Once
from penstock.control.installation import Installation
from penstock.control.targets import Target
from penstock.errors import Forbidden, NotFound, PenstockError, Unauthenticated
from penstock.model.account import Principal
from penstock.model.configuration import PipelineRunConfiguration, said
from penstock.model.decision import Verdict
from penstock.model.idempotency import ATTEMPT, in_headers
from penstock.model.launch import Ticket
from penstock.model.preference import preferred_wait
from penstock.model.run import Cause, Run, RunState
from penstock.server.access import Standing
from penstock.server.bodies import Strict, answer
from penstock.server.watching import TRACE
from penstock.store import runs as stored
from penstock.store.session import ReadSession, WriteSession


def plain(body: PipelineRunConfiguration) -> PipelineRunConfiguration:
    """The run configuration in a body that has more than that."""
    return PipelineRunConfiguration(**{one.name: getattr(body, one.name) for one in fields(PipelineRunConfiguration)})


ENDED: dict[int | str, dict[str, Any]] = {200: {"model": Run, "description": "The run, which has ended."}}
"""The other answer of an address that starts runs: it was waited for, or was found by its idempotency key."""

CallbackUrl = Annotated[str | None, Field(description="Who is told of the run's end: `http(s)://...`.")]


class ParentStep(Strict):
    """The step of another run that starts this one."""

    run_id: str
    step: str


@dataclass(frozen=True)
class Trigger:
    """One wish to start a run, whoever brings it."""

    target: Target
    configuration: PipelineRunConfiguration
    principal: Principal
    parent: ParentStep | None = None
    claim: bool = False
    replay: replays.Replay | None = None
    callback_url: str | None = None
    traceparent: str | None = None

    def cause(self) -> Cause:
        """Who pulled the gate, for the record."""
        run_id = self.parent.run_id if self.parent else self.principal.run_id
        step = self.parent.step if self.parent else None
        cause = runs.cause_of(self.principal, direct=self.claim, parent_run_id=run_id, parent_step=step)
        cause = replace(cause, traceparent=self.traceparent)
        return cause if self.replay is None else replace(cause, kind="replay")


Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


def starts(target: Callable[[Mapping[str, str]], Target]) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint that starts runs: also what never comes as far as `trigger` is an attempt, at what its address names."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.target = target  # type: ignore[attr-defined]  # `attempted` reads it
        return endpoint

    return mark


def attempted(request: Request) -> Target | None:
    """What a request wants started, as far as its address says it; None if its route starts nothing."""
    target = getattr(request.scope["route"].endpoint, "target", None)
    return None if target is None else target(request.path_params)


def turned_away(here: Installation, target: Target, who: Principal, error: PenstockError) -> None:
    """Have it on record that an attempt was refused before it was looked at."""
    _refused(here, Trigger(target, PipelineRunConfiguration(), who), runs.Options(), error)


async def trigger(request: Request, here: Installation, wish: Trigger) -> Response:
    """Start the run, wait if the caller prefers to, and answer: 202 while it goes on, 200 when it has ended."""
    wait = preferred_wait(request.headers.get("prefer", ""))
    wish = replace(wish, traceparent=request.scope.get(TRACE))
    options = runs.Options(once=once(request, wish), claim=wish.claim, plan=request.headers.get("plan-token"))
    try:
        if wish.callback_url is not None:  # before the transaction: a name server may take its time
            accepted = await run_in_threadpool(callbacks.accepted, here, wish.callback_url)
            options = replace(options, callback=accepted)
        started = await here.pen.write(partial(_start_in, copy_context(), here, wish, options))
    except PenstockError as error:
        await run_in_threadpool(_refused, here, wish, options, error)
        raise
    if wish.claim:
        return answer({"run": started.run, "ticket": await run_in_threadpool(_ticket, here, started.run)}, 201)
    if started.cancelled:
        await run_in_threadpool(stop, request, started.cancelled)
    verdict = _verdict(started)
    run = started.run
    if wait:
        # Who may see it no more is told all the same that it was started.
        with suppress(Unauthenticated, Forbidden, NotFound):
            run = await wait_for_end(request, here, run, wait)
    headers = {
        "Location": f"{request.scope['root_path']}/api/v1/runs/{run.id}",
        "Idempotency-Result": "created" if verdict is Verdict.STARTED else verdict.value,
    }
    return answer(run, 200 if run.state.terminal else 202, headers | waited(wait))


def stop(request: Request, cancelled: Iterable[Run]) -> None:
    """Have the processes of runs that were cancelled stopped now, without waiting for their next heartbeat."""
    for run in cancelled:
        if run.state is RunState.CANCELLING:
            request.app.state.stop_run(run.id)


def waited(wait: float) -> dict[str, str]:
    """The headers that say a preference was honoured."""
    return {"Preference-Applied": f"wait={wait:g}"} if wait else {}


async def wait_for_end(request: Request, here: Installation, run: Run, seconds: float) -> Run:
    """The run when it has ended, or as it stands after `seconds`. Raises if the caller may not see it any more."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    standing = Standing(request, here)
    with here.bell.subscribe(run.id, loop) as rung:
        while not run.state.terminal and (left := deadline - loop.time()) > 0 and not here.draining.is_set():
            # Another process may have written without our bell: look again every second.
            run = await run_in_threadpool(_read, here, run.id)
            if not run.state.terminal:
                await rung.wait_async(min(left, Standing.EVERY))
                await standing.hold()
    return run


def _verdict(started: runs.Started) -> Verdict:
    """Whether this request started the run, came while the run of an earlier one goes on, or after it had ended."""
    if not started.replayed:
        return Verdict.REPLACED if started.cancelled else Verdict.STARTED
    return Verdict.REPLAYED if started.run.state.terminal else Verdict.JOINED


def start(here: Installation, wish: Trigger, options: runs.Options) -> runs.Started:
    """Start the run in a transaction of its own, and have it on record what became of the wish."""
    try:
        return here.db.do(partial(_start, here, wish, options))
    except PenstockError as error:
        _refused(here, wish, options, error)
        raise


def _start_in(
    context: Context, here: Installation, wish: Trigger, options: runs.Options, session: WriteSession
) -> runs.Started:
    """The same, in the context of the request, wherever it is written."""
    return context.run(_start, here, wish, options, session)


def _start(here: Installation, wish: Trigger, options: runs.Options, session: WriteSession) -> runs.Started:
    cause = wish.cause()
    _check_parent(session, wish)
    if wish.replay is not None:
        cause = replays.cause(session, wish.replay, wish.target, cause)
    confined = replace(options, within=wish.principal.within)
    started = runs.start(session, here, wish.target, wish.configuration, confined, cause)
    verdict = _verdict(started)
    decisions.taken(session, wish.target, started.run, cause, verdict, _key(options))
    session.after_commit(lambda: here.metrics.decided(verdict))
    return started


def _refused(here: Installation, wish: Trigger, options: runs.Options, error: PenstockError) -> None:
    here.metrics.decided(Verdict.REFUSED)
    decisions.refused(here, wish.target, wish.cause(), error, _key(options))


def _key(options: runs.Options) -> str | None:
    return options.once.key.key if options.once is not None else None


def _check_parent(session: ReadSession, wish: Trigger) -> None:
    """A run is the parent of what it starts; a caller who does not see a run cannot name it as parent."""
    if wish.parent is None:
        return
    if wish.principal.kind == "run" and wish.parent.run_id != wish.principal.run_id:
        raise Forbidden("A run starts other runs for itself only: `step_run` names another one.")
    if wish.principal.within is not None:
        reach.run(session, wish.principal.within, wish.parent.run_id)


def _ticket(here: Installation, run: Run) -> Ticket:
    with here.db.read() as session:
        return runs.direct_ticket(session, here, run)


def _read(here: Installation, run_id: str) -> Run:
    with here.db.read() as session:
        return stored.get(session, run_id)


def once(request: Request, wish: Trigger, *, part: str = "") -> Once | None:
    """The idempotency key of the request, if it has one; of each `part` of a request that starts several, a key of its own."""
    key = in_headers(request.headers)
    if key is None:
        return None
    asked = [wish.target, said(wish.configuration), *([wish.replay] if wish.replay else [])]
    content = msgspec.json.encode(asked, order="deterministic")
    whole = replace(key, key=f"{key.key}/{part}") if part else key
    return Once(key=whole, fingerprint=hashlib.sha256(content).hexdigest(), attempt=request.headers.get(ATTEMPT))
