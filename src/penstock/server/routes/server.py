"""The server itself over HTTP: what it is, login, launchers' reports, and stopping it."""

from __future__ import annotations

import os
import platform
from typing import Annotated

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from penstock.control import journal
from penstock.control.installation import Installation
from penstock.control.retention import sweep
from penstock.errors import Conflict, Forbidden
from penstock.model.account import Principal
from penstock.model.launch import Orders, Report
from penstock.model.retention import Swept
from penstock.server.access import AnyReader, Here, Manager, Worker
from penstock.server.bodies import REPORT, Strict, answer, record
from penstock.server.noun import Noun
from penstock.store import runs
from penstock.version import VERSION

router = Noun("", "server")


class StopServer(Strict):
    """How to stop. Runs under way make it refuse, unless it is to wait for them, cancel them, or be replaced."""

    reason: str = Field(default="", max_length=200)
    wait: bool = False
    cancel: bool = False
    replace: bool = False


@router.get("/info")
def get_info(request: Request, here: Here, who: AnyReader) -> Response:
    """What this server is and how busy it is; only its version for callers who are confined to some templates."""
    if who.within is not None:
        return answer({"version": VERSION, "started": here.started})
    with here.db.read() as session:
        active, queued = runs.count_active(session), runs.count_queued(session)
    return answer(
        {
            "version": VERSION,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "home": str(here.settings.home),
            "url": request.app.state.url,
            "socket": here.address,
            "database": here.db.where,
            "started": here.started,
            "runs_active": active,
            "runs_queued": queued,
        }
    )


@router.post("/launchers/report", response_model=Orders, openapi_extra=REPORT)
def report_launcher(here: Here, who: Worker, report: Annotated[Report, record(Report)]) -> Response:
    """Take in a supervisor's heartbeat, and answer with the runs that it should stop."""
    _owner_only(who)
    return answer(here.db.do(lambda session: journal.supervise(session, here, report)))


class SweepServer(Strict):
    """Whether only to say what would go."""

    dry_run: bool = False


@router.post("/server/sweep", response_model=Swept)
def sweep_server(here: Here, _: Manager, wanted: SweepServer) -> Response:
    """Remove what is older than the settings say that it is kept, or say how much that is."""
    return answer(sweep(here, dry_run=wanted.dry_run))


@router.post("/server/stop", status_code=202)
async def stop_server(request: Request, here: Here, who: Manager, wanted: StopServer) -> Response:
    """Stop this server; it answers once it has begun to leave."""
    _owner_only(who)
    if not (wanted.wait or wanted.cancel or wanted.replace):
        active = await run_in_threadpool(_active, here)
        if active:
            count = "1 run is" if active == 1 else f"{active} runs are"
            raise Conflict(f"{count} under way. Wait for the end (--wait) or cancel (--cancel).")
    await request.app.state.leave(wanted)
    return answer({"stopping": True}, 202)


def _active(here: Installation) -> int:
    with here.db.read() as session:
        return runs.count_active(session, here.place)


def _owner_only(who: Principal) -> None:
    if who.kind != "owner":
        raise Forbidden("Only the owner of this home may do this, through its socket.")
