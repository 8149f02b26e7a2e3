"""The application of a service: its own endpoints, answered with little in between, and FastAPI for everything else."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.errors import (
    Forbidden,
    MalformedRequest,
    NotFound,
    PenstockError,
    TooLarge,
)
from penstock.model.deployment import Plan
from penstock.model.deployment_settings import DeploymentSettings
from penstock.serve import answers, description, extensions, playground
from penstock.serve.callers import Callers
from penstock.serve.endpoints import Endpoints
from penstock.serve.liaison import Liaison
from penstock.serve.messages import Handler
from penstock.serve.service import Service
from penstock.version import VERSION


class Front:
    """The endpoints of every service, found by one look at a table; what is not there is FastAPI's."""

    def __init__(self, app: FastAPI, table: dict[str, dict[str, tuple[Handler, bool]]], callers: Callers) -> None:
        self._app = app
        self._table = table
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        methods = self._table.get(scope["path"])
        if methods is None:
            methods, scope = self._below(scope)
        found = methods.get(scope["method"]) if methods is not None else None
        if found is None:
            if methods is not None and not any(one.matches(scope)[0] is Match.FULL for one in self._app.router.routes):
                refused = HTTPException(405, "Method Not Allowed", {"Allow": ", ".join(methods)})
                await _http_problem(Request(scope), refused)(scope, receive, send)
                return
            await self._app(scope, receive, send)
            return
        handler, guarded = found
        try:
            if guarded:
                await self._callers.check(scope)
            await handler(scope, receive, send)
        except PenstockError as error:
            await _refuse(error, scope, send)

    def _below(self, scope: Scope) -> tuple[dict[str, tuple[Handler, bool]] | None, Scope]:
        """The methods of `/parent/{id}` and `/parent/{id}/verb`, which stand in the table with `*` for the id."""
        parts = scope["path"].rsplit("/", 2)
        for pattern, given in (
            (f"{parts[0]}/*/{parts[-1]}", parts[1]),
            (f"{scope['path'].rpartition('/')[0]}/*", parts[-1]),
        ):
            methods = self._table.get(pattern)
            if methods is not None and given:
                return methods, {**scope, "path_params": {"id": given}}
        return None, scope


class Parting:
    """Once the service is `leaving`, has each connection end with its answer."""

    def __init__(self, app: ASGIApp, leaving: asyncio.Event) -> None:
        self._app = app
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say so in the answer."""

        async def parting(message: Message) -> None:
            if self._leaving.is_set() and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, parting if scope["type"] == "http" else send)


class FixedHeaders:
    """The same headers on every answer that does not have them; `pages` may run what they name, if anything may."""

    def __init__(self, app: ASGIApp, headers: dict[str, str], pages: dict[str, bytes]) -> None:
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put them on."""
        own = self._pages.get(scope.get("path", ""))
        policy = [] if own is None else [(b"content-security-policy", own)]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [*message.get("headers", []), *policy]
                there = {name for name, _ in given}
                message["headers"] = [*given, *(one for one in self._headers if one[0] not in there)]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def create_app(
    plan: Plan,
    make: Callable[[asyncio.AbstractEventLoop], Service],
    *,
    functions: extensions.Functions,
    code: Path,
    directory: Path,
    failed: Callable[[BaseException], None],
) -> ASGIApp:
    """The application that serves a plan. `make` makes the service when its loop runs; `on_init` has ended before the first
    request comes.

    `functions` knows the functions that the pipeline was given by their names, and `code` is the directory of its code. In
    `directory` is kept what must survive the process. `failed` hears what keeps the service from coming up.
    """
    settings, callers = plan.settings, Callers(plan)
    given: dict[str, Service] = {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        try:
            service = given["service"] = await loop.run_in_executor(None, make, loop)
            app.state.service = service
            await loop.run_in_executor(None, service.start)
            extensions.extend(app, service, settings, callers.check, functions)
        except BaseException as error:
            failed(error)
            raise
        gc.freeze()  # what is there now stays, and need not be looked at with what requests leave
        endpoints.bind(service)
        liaison = _liaison(service, endpoints)
        try:
            yield
        finally:
            endpoints.leave()
            await loop.run_in_executor(None, service.close)
            await endpoints.close()
            if liaison is not None:
                await loop.run_in_executor(None, liaison.close)

    app = FastAPI(
        title=settings.app_title or plan.deployment_name,
        description=settings.app_description or plan.snapshot.content.description or "",
        version=settings.app_version or VERSION,
        docs_url=settings.root_url_path + settings.docs_url_path
        if "DOCS" in settings.include_default_endpoints
        else None,
        redoc_url=settings.root_url_path + settings.redoc_url_path
        if "REDOC" in settings.include_default_endpoints
        else None,
        openapi_url=f"{settings.root_url_path}/openapi.json",
        lifespan=lifespan,
        max_body_size=settings.max_body,
        telemetry={"tracing": False, "metrics": False},
        **settings.app_kwargs,
    )
    app.add_exception_handler(PenstockError, _problem)
    app.add_exception_handler(HTTPException, _http_problem)
    endpoints = Endpoints(settings, directory)
    _describe(app, given, settings)
    playground.install(app, given, settings, code)
    outer: ASGIApp = Front(app, endpoints.table(), callers)
    for middleware in extensions.middlewares(settings, functions):
        outer = middleware(outer)
    if "CORS" in settings.include_default_middleware:
        cors = settings.cors
        outer = CORSMiddleware(
            outer,
            allow_origins=cors.allow_origins,
            allow_methods=cors.allow_methods,
            allow_headers=cors.allow_headers,
            allow_credentials=cors.allow_credentials,
        )
    if "SECURE_HEADERS" in settings.include_default_middleware:
        outer = FixedHeaders(outer, settings.secure_headers.headers(), _pages(settings))
    return outer


def _liaison(service: Service, endpoints: Endpoints) -> Liaison | None:
    """What has the service take part in trials: there are none without a server, and none of a companion."""
    if not service.plan.server or service.plan.seat is not None:
        return None
    made = Liaison(service, endpoints, partial(setattr, endpoints, "contest"))
    made.start()
    return made


_DOCS = (
    b"default-src 'none'; script-src https://cdn.jsdelivr.net 'unsafe-inline'; connect-src 'self'; img-src https: data:; "
    b"style-src https://cdn.jsdelivr.net https://fonts.googleapis.com 'unsafe-inline'; font-src https://fonts.gstatic.com; "
    b"worker-src blob:; frame-ancestors 'self'"
)
"""FastAPI's pages of documentation fetch themselves from there."""


def _pages(settings: DeploymentSettings) -> dict[str, bytes]:
    if settings.secure_headers.csp is not True:
        return {}
    return {settings.path("docs"): _DOCS, settings.path("redoc"): _DOCS}


def _describe(app: FastAPI, given: dict[str, Service], settings: DeploymentSettings) -> None:
    """Have the OpenAPI document say what our own endpoints take, besides those that FastAPI knows."""
    fastapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = description.with_own_paths(fastapi(), given["service"], settings)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's own documentation has it


async def _refuse(error: PenstockError, scope: Scope, send: Send) -> None:
    status, headers, body = answers.problem(error, scope["path"])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, PenstockError)
    status, headers, body = answers.problem(error, request.url.path)
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})


_KINDS: dict[int, type[PenstockError]] = {400: MalformedRequest, 403: Forbidden, 404: NotFound, 413: TooLarge}


def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    kind = _KINDS.get(error.status_code)
    if kind is not None:
        told = f"Nothing is served under {path}." if kind is NotFound else str(error.detail)
        return _problem(request, kind(told))
    document = {
        "type": "about:blank",
        "title": str(error.detail),
        "status": error.status_code,
        "detail": f"{request.method} is not served here." if error.status_code == 405 else str(error.detail),
        "instance": path,
    }
    headers = dict(error.headers or {})
    return Response(msgspec.json.encode(document), error.status_code, headers, media_type=answers.PROBLEM.decode())
