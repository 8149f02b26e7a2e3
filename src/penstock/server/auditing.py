"""What of a request goes into the audit log: everything that changes something, and everybody who was turned away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError

from penstock.control import audit
from penstock.control.audit import Deed, deed
from penstock.control.targets import Target
from penstock.errors import PenstockError
from penstock.server import problems
from penstock.server.access import known
from penstock.server.cookies import SAFE, secret_in
from penstock.server.logs import request_id
from penstock.server.rates import Buckets
from penstock.server.triggers import attempted, turned_away

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
    except (PenstockError, RequestValidationError) as error:
        if not one.told:
            mistake = error if isinstance(error, PenstockError) else problems.told(request, error)
            target = attempted(request)
            if target is not None or _worth(request, one, mistake):
                await run_in_threadpool(_remember, request, one, target, mistake)
        raise
    finally:
        deed.reset(token)


def _remember(request: Request, one: Deed, target: Target | None, error: PenstockError) -> None:
    """Whoever is known and wanted to start a run has attempted it; of the others those who are worth it are remembered."""
    here = request.app.state.installation
    who = known(request, here) if target is not None and one.who is None else one.who
    if target is not None and who is not None:
        turned_away(here, target, who, error)
    elif _worth(request, one, error) and not _budget.take(one.address or ""):
        audit.refused(here, one, error)


def _worth(request: Request, one: Deed, error: PenstockError) -> bool:
    """Whether a refusal is remembered: of a change, or of a credential. That somebody came without one is no news."""
    came_with_one = one.name is not None or "authorization" in request.headers or secret_in(request) is not None
    return (one.changing and request.method not in SAFE) or (error.status in _REFUSED and came_with_one)
