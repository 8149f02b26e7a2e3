"""What of a request goes into the audit log: everything that changes something, and everybody who was turned away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from penstock.control import audit
from penstock.control.audit import Deed, deed
from penstock.errors import PenstockError
from penstock.server.cookies import SAFE, secret_in
from penstock.server.logs import request_id
from penstock.server.rates import Buckets

_REFUSED = (401, 403, 429)

_budget = Buckets(0.5, 60)
"""Refusals of one address that are written down: thirty at once, then one in two seconds. The log is no place to flood."""


async def watched(request: Request, handler: Callable[[Request], Awaitable[Response]]) -> Response:
    """The handler's answer, with an entry in the audit log if it is one to be remembered."""
    one = Deed(
        action=request.scope["route"].name,
        object=request.scope["path"].removeprefix(request.scope.get("root_path", "")).removeprefix("/api/v1/"),
        address=request.client.host if request.client else "local",
        agent=request.headers.get("user-agent"),
        request_id=request_id.get(),
    )
    token = deed.set(one)
    try:
        return await handler(request)
    except PenstockError as error:
        if not one.told and _worth(request, one, error) and not _budget.take(one.address or ""):
            await run_in_threadpool(audit.refused, request.app.state.installation, one, error)
        raise
    finally:
        deed.reset(token)


def _worth(request: Request, one: Deed, error: PenstockError) -> bool:
    """Whether a refusal is remembered: of a change, or of a credential. That somebody came without one is no news."""
    came_with_one = one.name is not None or "authorization" in request.headers or secret_in(request) is not None
    return (one.changing and request.method not in SAFE) or (error.status in _REFUSED and came_with_one)
