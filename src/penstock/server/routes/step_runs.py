"""Step runs over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from penstock.control import cache as control
from penstock.control.installation import Installation
from penstock.model.cache import Found, Lookup, Taken, Taking
from penstock.model.run import StepRun, StepState
from penstock.server.access import Here, ListReader, StepReader, WorkReader
from penstock.server.bodies import REPORT, ListQuery, Page, answer, listing, record
from penstock.server.noun import Noun
from penstock.server.routes.logs import LogQuery, log_page
from penstock.store import runs

router = Noun("/step_runs", "step runs")


class StepQuery(ListQuery):
    """Filters of the list."""

    run_id: str | None = None
    state: StepState | None = None


@router.get("", response_model=Page[StepRun])
def list_step_runs(here: Here, who: ListReader, query: Annotated[StepQuery, Query()]) -> Response:
    """All step runs, newest first."""
    with here.db.read() as session:
        states = (query.state,) if query.state else ()
        found = runs.page_steps(session, query.window, run_id=query.run_id, states=states, within=who.within)
        return listing(found, query)


@router.post("/lookup", response_model=Found, openapi_extra=REPORT)
def look_up_results(here: Here, _: WorkReader, wanted: Annotated[Lookup, record(Lookup)]) -> Response:
    """Earlier results of a step under a key, or what its last run hung on. For workers."""
    with here.db.read() as session:
        return answer(control.look_up(session, wanted))


@router.post("/take", response_model=Taken, openapi_extra=REPORT)
def take_results(here: Here, _: WorkReader, wanted: Annotated[Taking, record(Taking)]) -> Response:
    """What one invocation of a run made, if it ended well. For workers that carry out a replay."""
    with here.db.read() as session:
        return answer(control.take(session, wanted))


@router.get("/{step_run_id}", response_model=StepRun)
def get_step_run(here: Here, _: StepReader, step_run_id: str) -> Response:
    """One step run, by id."""
    with here.db.read() as session:
        return answer(runs.get_step(session, step_run_id))


@router.get("/{step_run_id}/logs")
async def get_step_logs(
    request: Request, here: Here, _: StepReader, step_run_id: str, query: Annotated[LogQuery, Query()]
) -> Response:
    """Lines of the step's output after a cursor. With `Prefer: wait=N` the answer waits for a new line or the end."""
    step = await run_in_threadpool(_step, here, step_run_id)
    return await log_page(request, here, step.run_id, query.model_copy(update={"step": step.step}))


def _step(here: Installation, step_run_id: str) -> StepRun:
    with here.db.read() as session:
        return runs.get_step(session, step_run_id)
