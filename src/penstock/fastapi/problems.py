"""Errors of an embedded router as RFC 9457 problem documents; the application's own error handlers stay as they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from penstock.errors import InvalidInput, MalformedRequest, PenstockError, fault, pointer
from penstock.fastapi.bodies import StepValues, TriggerRequest
from penstock.model.strict_json import loads

log = logging.getLogger("penstock.fastapi")

PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
"""JSON Schema of a problem document."""


def route_class(check: Callable[[Request], None]) -> type[APIRoute]:
    """Routes that `check` the request before they read it, read JSON strictly, and answer errors as problems."""

    class Guarded(APIRoute):
        """A route of this router."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """The handler of the route."""
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    check(request)
                    return await handler(_StrictRequest(request.scope, request.receive))
                except RequestValidationError as error:
                    return _response(_invalid(error.errors()), request)
                except PenstockError as error:
                    return _response(error, request)

            return guarded

    return Guarded


class _StrictRequest(Request):
    """A request whose body is read once, as strict JSON."""

    async def json(self) -> Any:
        """The body as JSON values."""
        if not hasattr(self, "_strict"):
            self._strict = loads(await self.body())
        return self._strict


def _response(error: PenstockError, request: Request) -> Response:
    headers = dict(error.headers)
    if error.status in (429, 503):
        headers.setdefault("Retry-After", "1")
    if error.status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, error)
    body = msgspec.json.encode(error.problem(request.url.path))
    return Response(body, status_code=error.status, headers=headers, media_type="application/problem+json")


def _invalid(details: Any) -> PenstockError:
    """What FastAPI found wrong with a request, with pointers into its body."""
    unreadable = next((one for one in details if one["type"] == "json_invalid"), None)
    if unreadable is not None:
        cause = unreadable.get("ctx", {}).get("error", "")
        return MalformedRequest(f"The body is no JSON: {cause} (at character {unreadable['loc'][-1]}).")
    return InvalidInput("The request does not fit what this address takes.", errors=map(_fault, details))


def _fault(detail: Mapping[str, Any]) -> dict[str, Any]:
    place, *inner = detail["loc"]
    at = pointer(*inner) if place == "body" else pointer(place, *inner)
    if detail["type"] == "extra_forbidden":
        model = StepValues if len(inner) > 1 else TriggerRequest
        return fault(at, "There is no such field.", allowed=model.model_fields, given=str(inner[-1]))
    return fault(at, f"{detail['msg']}.")
