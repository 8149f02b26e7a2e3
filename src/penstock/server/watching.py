"""Every request from its arrival to its last byte: it has an id, is measured, and whatever goes wrong has an answer."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.control.metrics import Metrics
from penstock.errors import PenstockError
from penstock.ids import new_id
from penstock.model.trace import Traces, context_of, failed, name_of
from penstock.server.logs import request_id
from penstock.server.problems import response

log = logging.getLogger("penstock.server")
requests = logging.getLogger("penstock.requests")

TRACE = "penstock.traceparent"
"""Key of a request's scope: the trace that it belongs to."""

GONE = 499
"""What stands in figures and lines for a caller that went away before it had sent everything."""

_ID = re.compile(r"[A-Za-z0-9._~:@/+=-]{1,128}")


class Watch:
    """ASGI middleware, around all that can fail. The id that a caller sends in `X-Request-Id` is kept if it is plain, else a new one is made.

    With `each`, every request is a line of the log; otherwise only those that fail in here.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, each: bool, traces: Traces | None) -> None:
        self._app = app
        self._traces = traces
        self._metrics = metrics
        self._each = each
        self._paths: dict[int, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = _given(scope) or new_id()
        token = request_id.set(identity)
        begun, status, span = time.perf_counter(), 0, self._begin(scope)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", identity.encode())]
            await send(message)

        self._metrics.in_progress.inc()
        try:
            await self._app(scope, receive, noted)
        except ClientDisconnect:  # in the middle of its body: nobody is there to be answered
            status = GONE
        except Exception as error:
            if status:  # it has begun to answer: all that is left is to break off
                raise
            log.exception("%s %s failed", scope["method"], scope["path"], exc_info=error)
            broken = PenstockError("Something went wrong in the server; its log has the details.")
            await response(broken, scope["path"])(scope, receive, noted)
        finally:
            self._metrics.in_progress.dec()
            self._end(scope, status, time.perf_counter() - begun)
            if span is not None:
                _end_span(span, _known(scope["method"]), self._route(scope), status)
            request_id.reset(token)

    def _begin(self, scope: Scope) -> Any:
        """The span of the request, if somebody wants it; its name, or else what the caller sent, is the trace's context."""
        scope[TRACE] = context_of(_only(scope, b"traceparent"))
        if self._traces is None:
            return None
        span = self._traces.begin(
            _known(scope["method"]), scope[TRACE], {"http.request.method": _known(scope["method"])}
        )
        scope[TRACE] = name_of(span)
        return span

    def _end(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = _known(scope["method"]), self._route(scope)
        self._metrics.answered(method, route, status, seconds)
        if self._each:
            told = {"method": method, "path": scope["path"], "route": route, "status": status}
            client = scope.get("client")
            told |= {"seconds": round(seconds, 6), "client": client[0] if client else None}
            requests.info("%s %s %s", method, scope["path"], status, extra=told)

    def _route(self, scope: Scope) -> str:
        """The template of the route that answered: paths themselves have no end."""
        route = scope.get("route")
        if route is None:
            return "(none)"
        if id(route) not in self._paths:  # what is included knows its path in its own router only; routes stay as we do
            self._paths |= {id(one.original_route): str(one.path) for one in iter_route_contexts(scope["app"].routes)}
        return self._paths.get(id(route), "(none)")


def _given(scope: Scope) -> str | None:
    text = _only(scope, b"x-request-id")
    return text if text is not None and _ID.fullmatch(text) else None


def _only(scope: Scope, wanted: bytes) -> str | None:
    values = [value for name, value in scope["headers"] if name == wanted]
    return values[0].decode("latin-1") if len(values) == 1 else None


def _end_span(span: Any, method: str, route: str, status: int) -> None:
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.route": route, "http.response.status_code": status})
    if status >= 500 or not status:
        failed(span, str(status))
    span.end()


def _known(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "(other)"
