"""Runs over HTTP: start, find, follow, cancel, and take in what workers report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec
from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import Field

from penstock.control import differences, journal, plans, reach, replays, runs, why
from penstock.control.installation import Installation
from penstock.control.targets import Target
from penstock.errors import Forbidden, NotFound, StaleFence, Unauthenticated
from penstock.model.callback import Callback
from penstock.model.comparison import Comparison
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.plan import Plan
from penstock.model.preference import preferred_wait
from penstock.model.run import Batch, Receipt, Run, RunState, StepRun
from penstock.model.why import Why
from penstock.server.access import Here, ListReader, RunReader, RunRunner, RunWriter, Standing, Starter, Worker
from penstock.server.bodies import REPORT, SOUGHT, ListQuery, Moment, Page, Strict, answer, listing, record
from penstock.server.noun import Noun
from penstock.server.routes.callbacks import callback_page
from penstock.server.routes.logs import LogQuery, log_page
from penstock.server.triggers import (
    ENDED,
    CallbackUrl,
    ParentStep,
    Trigger,
    plain,
    starts,
    stop,
    trigger,
    wait_for_end,
    waited,
)
from penstock.store import callbacks, events
from penstock.store import runs as stored
from penstock.store.session import WriteSession

router = Noun("/runs", "runs")

_HEARTBEAT = 15.0
"""Seconds after which a silent event stream sends a comment, so that proxies and clients know it lives."""

CLAIMED: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "The run, which the caller carries out, and what it needs for that.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


class RunQuery(ListQuery):
    """Filters of the list."""

    state: list[RunState] = Field(default=[], description="With several, one of them.")
    pipeline: str | None = Field(default=None, description="Id or name of a pipeline.")
    pipeline_id: str | None = None
    template: str | None = Field(default=None, description="Id or name of a run template.")
    template_id: str | None = None
    version: int | None = Field(default=None, ge=1, description="Of the template.")
    snapshot_id: str | None = None
    name: str | None = None
    tag: list[str] = Field(default=[], description="With several, all of them.")
    q: str | None = Field(default=None, description=f"{SOUGHT} The name of the template or pipeline will do.")
    account: str | None = Field(default=None, description="The name of the account that had them started.")
    created_after: Moment | None = None
    created_before: Moment | None = None
    parent_run_id: str | None = Field(default=None, description="Only runs that steps of this run have started.")
    served_by: str | None = Field(default=None, description="Only requests to the deployment with this id.")


@dataclass(frozen=True, kw_only=True)
class PlanRun(PipelineRunConfiguration):
    """What to run (exactly one of three), and how."""

    template: Annotated[str | None, Field(description="`name`, `name@vN` or id.")] = None
    snapshot_id: Annotated[str | None, Field(description="Id or name of a snapshot.")] = None
    pipeline: Annotated[str | None, Field(description="Id or name: its latest runnable snapshot.")] = None


@dataclass(frozen=True, kw_only=True)
class StartRun(PlanRun):
    """What to run (exactly one of three), how, and for whom."""

    claim: Annotated[bool, Field(description="The caller carries the run out itself.")] = False
    step_run: Annotated[ParentStep | None, Field(description="The step that starts this run.")] = None
    callback_url: CallbackUrl = None


@dataclass(frozen=True, kw_only=True)
class ReplayRun(PipelineRunConfiguration):
    """What is to be otherwise than in the run; and what is taken over from it."""

    template: Annotated[str | None, Field(description="`name@vN`: run this version instead.")] = None
    snapshot_id: Annotated[str | None, Field(description="Run this snapshot instead.")] = None
    from_failure: Annotated[bool, Field(description="Take over the results of steps that ended well.")] = False
    from_step: Annotated[
        str | None, Field(description="Take over results, but for this step and all that hang on it.")
    ] = None
    callback_url: CallbackUrl = None


class AnnotateRun(Strict):
    """What to note on a run, or on the step with this invocation id."""

    metadata: dict[str, Any] = Field(default={})
    add_tags: tuple[str, ...] = Field(default=(), max_length=50)
    remove_tags: tuple[str, ...] = Field(default=(), max_length=50)
    step: str | None = Field(default=None, description="Invocation id: the metadata is that of this step.")


class EventQuery(ListQuery):
    """Where to continue."""

    after: int = Field(default=0, ge=0)


@router.post("", response_model=Run, status_code=202, responses=ENDED | CLAIMED)
@starts(lambda _: Target())
async def start_run(request: Request, here: Here, who: Starter, wanted: StartRun) -> Response:
    """Start a run of a template, a snapshot or a pipeline."""
    target = Target(template=wanted.template, snapshot=wanted.snapshot_id, pipeline=wanted.pipeline)
    wish = Trigger(target, plain(wanted), who, wanted.step_run, wanted.claim, callback_url=wanted.callback_url)
    return await trigger(request, here, wish)


@router.post("/plan", response_model=Plan)
def plan_run(here: Here, who: Starter, wanted: PlanRun) -> Response:
    """What a trigger would do, step by step, and a token: sent with the trigger (`Plan-Token`), it holds it to this."""
    target = Target(template=wanted.template, snapshot=wanted.snapshot_id, pipeline=wanted.pipeline)
    with here.db.read() as session:
        return answer(plans.plan(session, here, target, plain(wanted), within=who.within))


@router.get("", response_model=Page[Run])
def list_runs(here: Here, who: ListReader, query: Annotated[RunQuery, Query()]) -> Response:
    """All runs, newest first."""
    wanted = stored.RunFilter(
        states=tuple(query.state),
        pipeline=query.reference("pipeline"),
        template=query.reference("template"),
        snapshot_id=query.snapshot_id,
        name=query.name,
        tags=tuple(query.tag),
        words=query.sought(query.q),
        account=query.account,
        version=query.version,
        created_after=query.created_after,
        created_before=query.created_before,
        parent=query.parent_run_id,
        within=who.within,
        served_by=query.served_by,
    )
    with here.db.read() as session:
        return listing(stored.page(session, query.window, wanted), query)


@router.get("/{reference}", response_model=Run)
async def get_run(request: Request, here: Here, _: RunReader, reference: str) -> Response:
    """One run, by id or name. With `Prefer: wait=N` the answer waits until the run has ended."""
    run = await run_in_threadpool(_run, here, reference)
    wait = preferred_wait(request.headers.get("prefer", ""))
    if wait:
        run = await wait_for_end(request, here, run, wait)
    return answer(run, headers=waited(wait))


@router.get("/{reference}/diff", response_model=Comparison)
def diff_run(
    here: Here, who: RunReader, reference: str, other: Annotated[str, Query(alias="with", description="Id or name.")]
) -> Response:
    """What is different in another run: versions, values and their origins, inputs, steps, metrics, outputs, times."""
    with here.db.read() as session:
        if who.within is not None:
            reach.run(session, who.within, other)
        return answer(differences.of_runs(session, reference, other))


@router.get("/{reference}/why", response_model=Why)
def why_run(here: Here, _: RunReader, reference: str) -> Response:
    """What the run waits for, who holds it and since when; of one that has ended, why it ended so."""
    with here.db.read() as session:
        return answer(why.why(session, here, reference))


@router.patch("/{reference}", response_model=Run)
def annotate_run(here: Here, _: RunRunner, reference: str, wanted: AnnotateRun) -> Response:
    """Note metadata and tags on a run, whether it has ended or not. Nothing else of it can be changed."""
    notes = runs.Notes(
        metadata=wanted.metadata, add_tags=wanted.add_tags, remove_tags=wanted.remove_tags, step=wanted.step
    )
    with here.db.write() as session:
        return answer(runs.annotate(session, here, reference, notes))


@router.delete("/{reference}", status_code=204)
def delete_run(here: Here, _: RunWriter, reference: str) -> Response:
    """Remove an ended run with its steps, logs and history; the artifacts that it made stay until they are pruned."""
    with here.db.write() as session:
        runs.delete(session, reference)
    return Response(status_code=204)


@router.post("/{reference}/cancel", response_model=Run, status_code=202)
def cancel_run(
    request: Request,
    here: Here,
    _: RunRunner,
    reference: str,
    children: Annotated[bool, Query(description="Also the runs that its steps have started.")] = True,
) -> Response:
    """Cancel a run: its process, whatever processes that has started, and the runs that its steps have started."""

    def cancel(session: WriteSession) -> list[Run]:
        if children:
            return runs.cancel_with_children(session, here, reference)
        return [runs.cancel(session, here, reference)]

    cancelled = here.db.do(cancel)
    stop(request, cancelled)
    return answer(cancelled[0], 202)


@router.post("/{reference}/replay", response_model=Run, status_code=202, responses=ENDED)
@starts(lambda path: Target(like=path["reference"]))
async def replay_run(
    request: Request, here: Here, who: RunRunner, reference: str, wanted: ReplayRun | None = None
) -> Response:
    """Start a run like this one, with changes, on another version, or taking over what ended well in it."""
    asked = wanted or ReplayRun()
    run = await run_in_threadpool(_run, here, reference)
    target = Target(template=asked.template, snapshot=asked.snapshot_id, like=run.id)
    replay = replays.Replay(run=run.id, from_failure=asked.from_failure, from_step=asked.from_step)
    return await trigger(
        request, here, Trigger(target, plain(asked), who, replay=replay, callback_url=asked.callback_url)
    )


@router.get("/{reference}/callbacks", response_model=Page[Callback])
def list_run_callbacks(here: Here, _: RunReader, reference: str, query: Annotated[ListQuery, Query()]) -> Response:
    """Who is told of the end of this run, and how far that has come."""
    with here.db.read() as session:
        run = stored.get(session, reference)
        return callback_page(callbacks.page(session, query.window, run_id=run.id), query)


@router.get("/{reference}/steps", response_model=Page[StepRun])
def list_steps(here: Here, _: RunReader, reference: str, query: Annotated[ListQuery, Query()]) -> Response:
    """The steps of a run, in the order in which they were called."""
    with here.db.read() as session:
        run = stored.get(session, reference)
        return listing(stored.page_steps(session, replace(query.window, oldest_first=True), run_id=run.id), query)


@router.get("/{reference}/logs")
async def get_run_logs(
    request: Request, here: Here, _: RunReader, reference: str, query: Annotated[LogQuery, Query()]
) -> Response:
    """Lines of the run's output after a cursor. With `Prefer: wait=N` the answer waits for a new line or the end."""
    return await log_page(request, here, reference, query)


@router.get("/{reference}/events")
async def get_run_events(
    request: Request, here: Here, _: RunReader, reference: str, query: Annotated[EventQuery, Query()]
) -> Response:
    """What happened to a run: as a list, or as a live stream with `Accept: text/event-stream`."""
    run = await run_in_threadpool(_run, here, reference)
    if "text/event-stream" in request.headers.get("accept", ""):
        last = request.headers.get("last-event-id", "")
        after = int(last) if last.isdigit() else query.after
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_stream(request, here, run.id, after), media_type="text/event-stream", headers=headers)
    items = await run_in_threadpool(_events, here, run.id, query.after, query.size)
    return answer({"items": items, "next": items[-1].number if items else None})


@router.post("/{reference}/events", response_model=Receipt, openapi_extra=REPORT)
def report_events(here: Here, who: Worker, reference: str, batch: Annotated[Batch, record(Batch)]) -> Response:
    """Take in a worker's report. 409 if its claim on the run is not valid any more."""
    if who.kind == "run" and who.run_id != reference:
        raise Forbidden("A run reports for itself only.")
    if who.fence is not None and who.fence != batch.fence:
        raise StaleFence("This token was made for another claim on the run.")
    return answer(here.db.do(lambda session: journal.report(session, here, reference, batch)))


def _run(here: Installation, reference: str) -> Run:
    with here.db.read() as session:
        return stored.get(session, reference)


def _events(here: Installation, run_id: str, after: int, limit: int) -> list[events.Entry]:
    with here.db.read() as session:
        return list(events.after(session, run_id, after, limit))


async def _stream(request: Request, here: Installation, run_id: str, after: int) -> AsyncIterator[bytes]:
    """Server-sent events until the run has ended and all of them were sent, or the caller may not see them any more."""
    loop = asyncio.get_running_loop()
    with here.bell.subscribe(run_id, loop) as rung:
        silent_since, standing = loop.time(), Standing(request, here)
        while True:
            try:
                await standing.hold()
            except (Unauthenticated, Forbidden, NotFound):
                return  # who comes back is told why
            run = await run_in_threadpool(_run, here, run_id)
            items = await run_in_threadpool(_events, here, run_id, after, 200)
            for item in items:
                after, silent_since = item.number, loop.time()
                yield f"id: {item.number}\nevent: {item.type}\ndata: {msgspec.json.encode(item).decode()}\n\n".encode()
            if run.state.terminal and not items:
                yield b"event: end\ndata: {}\n\n"
                return
            if items:
                continue
            if (
                here.draining.is_set()
            ):  # a client comes back with the number of its last event, and finds another server
                return
            if loop.time() - silent_since > _HEARTBEAT:
                silent_since = loop.time()
                yield b": still here\n\n"
            await rung.wait_async(Standing.EVERY)
