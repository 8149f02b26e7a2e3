"""The router: discovery, trigger, status and waiting, for the templates that an application offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import APIKeyHeader

from penstock.client.client import Client
from penstock.fastapi.bodies import RunView, TemplateList, TemplateView, TriggerRequest
from penstock.fastapi.gate import Gate
from penstock.fastapi.keys import Keys
from penstock.fastapi.problems import PROBLEM, route_class
from penstock.model.idempotency import in_headers
from penstock.model.preference import preferred_wait

_HEADERS = [
    ("Idempotency-Key", "The same key with the same body means the same run, however often it is sent."),
    ("Idempotency-Until", "`terminal`, or seconds: for how long the key means that run."),
    ("Idempotency-Conflict", "`join`, `reject` or `replace`: what becomes of this request while that run goes on."),
    ("Prefer", "`wait=N`: answer when the run has ended, after N seconds at the latest."),
]


def trigger_router(
    templates: Iterable[str] | Mapping[str, str],
    *,
    api_keys: str | Iterable[str] | None,
    header: str = "X-API-Key",
    client: Client | None = None,
    callbacks: bool = False,
) -> APIRouter:
    """Routes for your own FastAPI application, with which its callers start runs of these templates and of no others.

    `templates` are names or `name@vN`; a mapping offers them under names of your own. Callers send one of `api_keys` in
    `header`; None leaves it to the application who may call. `client` is the connection to Penstock: without one, that
    of this process (`PENSTOCK_URL`, a stored login, or the server of this machine), made at the first call. With `callbacks`
    a trigger may have a `callback_url`, to which Penstock itself then posts the end of the run, whole as it has it.

    - `GET /templates`, `GET /templates/{name}`: what can be started, with the schema of its parameters and outputs
    - `GET /templates/{name}/schema`: the JSON Schema of the parameters alone
    - `POST /templates/{name}/runs`: start a run; honours `Idempotency-Key` and `Prefer: wait=N`
    - `GET /runs/{run_id}`: the run as it stands; with `Prefer: wait=N`, when it has ended

    Errors are RFC 9457 problem documents with the pointers that Penstock gives. Any number of calls may be under way.
    """
    keys = Keys(api_keys, header)
    gate = Gate(templates, client or Client(), callbacks=callbacks)
    shown = [] if keys.open else [Depends(APIKeyHeader(name=header, auto_error=False))]  # for the OpenAPI document
    router = APIRouter(route_class=route_class(keys.check), dependencies=shown, tags=["pipelines"])
    missing = _problems(404) if keys.open else _problems(401, 404)

    @router.get("/templates", responses=_problems() if keys.open else _problems(401))
    async def list_templates() -> TemplateList:
        """What can be started here."""
        return TemplateList(items=await gate.templates())

    @router.get("/templates/{template}", responses=missing)
    async def get_template(template: str) -> TemplateView:
        """One template, with the schema of its parameters and outputs."""
        return await gate.template(template)

    @router.get("/templates/{template}/schema", responses=missing)
    async def get_schema(template: str) -> dict[str, Any]:
        """The JSON Schema of the template's parameters."""
        return (await gate.template(template)).parameter_schema

    @router.post(
        "/templates/{template}/runs",
        status_code=202,
        responses=missing | _problems(409, 429) | {200: {"model": RunView, "description": "The run, which has ended."}},
        openapi_extra={"parameters": [_header(*one) for one in _HEADERS]},
    )
    async def start_run(
        request: Request, response: Response, template: str, wanted: TriggerRequest | None = None
    ) -> RunView:
        """Start a run. An answer of 2xx means that it is stored and will be carried out."""
        started = await gate.start(template, wanted or TriggerRequest(), in_headers(request.headers))
        run = await _waited(gate, request, response, started)
        response.status_code = 200 if run.state.terminal else 202
        response.headers["Location"] = f"{request.url.path.rsplit('/templates/', 1)[0]}/runs/{run.id}"
        return run

    @router.get("/runs/{run_id}", responses=missing, openapi_extra={"parameters": [_header(*_HEADERS[-1])]})
    async def get_run(request: Request, response: Response, run_id: str) -> RunView:
        """A run as it stands."""
        return await _waited(gate, request, response, await gate.run(run_id))

    return router


async def _waited(gate: Gate, request: Request, response: Response, run: RunView) -> RunView:
    """The run after the time that the caller prefers to wait, if that is granted."""
    seconds = preferred_wait(request.headers.get("prefer", ""))
    run, granted = await gate.ended(run, seconds, request.is_disconnected)
    if granted:
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    return run


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    told = {"description": "A problem document.", "content": {"application/problem+json": {"schema": PROBLEM}}}
    return dict.fromkeys((*statuses, 422, 503), told)
