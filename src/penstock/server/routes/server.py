"""The server itself over HTTP: what it is, login, launchers' reports, and stopping it."""

from __future__ import annotations

import os
import platform
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from penstock.control import accounts, journal
from penstock.control.installation import Installation
from penstock.control.retention import sweep
from penstock.errors import Conflict, Forbidden, InvalidInput, MalformedRequest, fault
from penstock.model.account import Principal
from penstock.model.launch import Orders, Report
from penstock.model.retention import Swept
from penstock.model.strict_json import loads
from penstock.server.access import AnyReader, Here, Manager, Worker
from penstock.server.bodies import REPORT, Strict, answer, record, takes
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


_KEY = {"type": "string", "minLength": 1}
_LOGIN: dict[str, Any] = {"type": "object", "required": ["api_key"], "properties": {"api_key": _KEY}}


@router.post("/login", openapi_extra=takes("application/json", _LOGIN))
async def log_in(request: Request, here: Here) -> Response:
    """A token for one hour in exchange for an API key (`{"api_key": ...}`, or a form with the key as `password`)."""
    token = await run_in_threadpool(accounts.log_in, here, _key_in(await request.body(), request))
    content = {"access_token": token, "token_type": "bearer", "expires_in": int(accounts.TOKEN_LIFETIME)}
    return answer(content, headers={"Cache-Control": "no-store"})


@router.post("/launchers/report", response_model=Orders, openapi_extra=REPORT)
def report_launcher(here: Here, who: Worker, report: Annotated[Report, record(Report)]) -> Response:
    """Take in a supervisor's heartbeat, and answer with the runs that it should stop."""
    _owner_only(who)
    with here.db.write() as session:
        return answer(journal.supervise(session, here, report))


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
        return runs.count_active(session)


def _owner_only(who: Principal) -> None:
    if who.kind != "owner":
        raise Forbidden("Only the owner of this home may do this, through its socket.")


def _key_in(body: bytes, request: Request) -> str:
    """The API key in a login's body, JSON or form."""
    kind = request.headers.get("content-type", "")
    try:
        if kind.startswith("application/x-www-form-urlencoded"):
            form = parse_qs(body.decode(), max_num_fields=20)
            key = next(iter(form.get("password") or form.get("api_key") or []), None)
        else:
            content = loads(body)
            key = content.get("api_key") if isinstance(content, dict) else None
    except ValueError as error:
        raise MalformedRequest(f"The body cannot be read: {error}.") from error
    if not isinstance(key, str) or not key:
        raise InvalidInput("An API key is needed.", errors=[fault("/api_key", "Give the API key as a string.")])
    return key
