"""Errors as RFC 9457 problem documents, whatever raised them. No trace, no path and no SQL leaves the server."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from penstock.errors import (
    Forbidden,
    InvalidInput,
    MalformedRequest,
    NotFound,
    PenstockError,
    TooLarge,
    Unauthenticated,
    fault,
    pointer,
)
from penstock.server.browsers import HEADERS

log = logging.getLogger("penstock.server")
MEDIA_TYPE = "application/problem+json"

_BY_STATUS: Mapping[int, type[PenstockError]] = {
    400: MalformedRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    413: TooLarge,
}


def install(app: FastAPI) -> None:
    """Have every error of `app` answered as a problem document."""
    app.add_exception_handler(PenstockError, _penstock_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


def response(error: PenstockError, instance: str) -> Response:
    """The answer for `error`; a kind that only callers know (its status is 500) keeps its words to the log."""
    headers = dict(error.headers)
    if error.status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    if error.status in (429, 503):
        headers.setdefault("Retry-After", "1")
    body = msgspec.json.encode(error.problem(instance))
    return Response(body, status_code=error.status, headers=headers, media_type=MEDIA_TYPE)


def bare(error: PenstockError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body for `error` where no layer of ours puts on what every answer carries: there is no request yet."""
    answer = response(error, "")
    headers = [one for one in answer.raw_headers if one[0] != b"content-length"]
    return error.status, [*headers, *HEADERS], bytes(answer.body)


def _penstock_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PenstockError)
    if error.status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, error)
    return response(error, request.url.path)


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return response(told(request, error), request.url.path)


def told(request: Request, error: RequestValidationError) -> PenstockError:
    """What FastAPI found wrong with a request, in our words."""
    details = error.errors()
    unreadable = next((one for one in details if one["type"] == "json_invalid"), None)
    if unreadable is not None:
        where = unreadable["loc"][-1]
        cause = unreadable.get("ctx", {}).get("error", "")
        return MalformedRequest(f"The body is no JSON: {cause} (at character {where}).")
    faults = [_fault(request, one) for one in details]
    return InvalidInput("The request does not fit what this address takes.", errors=faults)


def _fault(request: Request, detail: Mapping[str, Any]) -> dict[str, Any]:
    """One of pydantic's details as a fault. `loc` begins with the part of the request: body, query, path, header."""
    place, *inner = detail["loc"]
    at = pointer(*inner) if place == "body" else pointer(place, *inner)
    own = (detail.get("ctx") or {}).get("error")
    if isinstance(own, InvalidInput) and own.errors:  # a rule of the record itself
        return {**own.errors[0], "pointer": at + str(own.errors[0]["pointer"])}
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = _allowed(request, inner[:-1]) if place == "body" else _filters(request)
        return fault(at, "There is no such field.", allowed=allowed, given=str(inner[-1]))
    return fault(at, f"{detail['msg']}.")


def _allowed(request: Request, inner: list[Any]) -> list[str]:
    """The field names that the body may have at `inner`; none where that cannot be told."""
    field = getattr(request.scope.get("route"), "body_field", None)
    model = _model(getattr(getattr(field, "field_info", None), "annotation", None))
    for part in inner:
        model = _model(get_args(model)[1] if get_origin(model) is dict else _members(model).get(part))
    return list(_members(model))


def _filters(request: Request) -> list[str]:
    """What may be asked for after the `?` of this address."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    asked = [one.field_info.annotation for one in getattr(dependant, "query_params", ())]
    return [name for model in asked for name in _members(model)]


def _members(model: Any) -> dict[str, Any]:
    """The fields of a model or dataclass, with their types."""
    if is_dataclass(model):
        hints = get_type_hints(model)
        return {one.name: hints[one.name] for one in fields(model)}
    return {name: field.annotation for name, field in getattr(model, "model_fields", {}).items()}


def _model(annotation: Any) -> Any:
    """The type behind `T | None`."""
    given = [one for one in get_args(annotation) if one is not NoneType]
    return given[0] if isinstance(annotation, UnionType) and len(given) == 1 else annotation


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return response(NotFound(f"Nothing is served under {request.url.path}."), request.url.path)
    headers = dict(error.headers or {})
    if error.status_code == 405:  # routing knows the methods of the first route only that has this path
        headers["Allow"] = ", ".join(_methods(request))
    kind = _BY_STATUS.get(error.status_code)
    if kind is not None:
        return response(kind(str(error.detail)), request.url.path)
    document = {
        "type": "about:blank",
        "title": str(error.detail),
        "status": error.status_code,
        "detail": f"{request.method} is not served here." if error.status_code == 405 else str(error.detail),
        "instance": request.url.path,
    }
    body = msgspec.json.encode(document)
    return Response(body, status_code=error.status_code, headers=headers, media_type=MEDIA_TYPE)


def _methods(request: Request) -> list[str]:
    """The methods of the address that fits the path of this request best: the one with fewest names to fill in."""
    path = request.scope["path"].removeprefix(request.scope["root_path"])
    routes = list(iter_route_contexts(request.app.routes))
    fitting = [str(one.path) for one in routes if compile_path(str(one.path))[0].match(path)]
    best = min(fitting, key=lambda fits: fits.count("{"), default=None)
    return sorted({method for one in routes if one.path == best for method in one.methods or ()})
