"""The cookie of a session, and what an unsafe request has to bring besides it."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from fastapi import Request, Response

from penstock.errors import Forbidden
from penstock.model.session import NewSession, csrf_token

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def secret_in(request: Request) -> str | None:
    """The secret of the session that a request comes with."""
    return request.cookies.get(_name(request))


def give(request: Request, response: Response, session: NewSession) -> None:
    """Have the browser keep the session: no script reads it, and no page of others sends it."""
    age = int((session.record.expires - session.record.created).total_seconds())
    response.set_cookie(
        _name(request),
        session.secret,
        max_age=age,
        path=_path(request),
        secure=_encrypted(request),
        httponly=True,
        samesite="strict",
    )


def take_back(request: Request, response: Response) -> None:
    """Have the browser forget the session."""
    response.delete_cookie(
        _name(request), path=_path(request), secure=_encrypted(request), httponly=True, samesite="strict"
    )


def check(request: Request, secret: str, token: str | None = None) -> None:
    """Raise `Forbidden` for a request that changes something unless a page of ours has made it.

    The token is in `X-CSRF-Token`, or given by who has read it from a form.
    """
    if request.method in SAFE:
        return
    check_origin(request)
    given = token if token is not None else request.headers.get("x-csrf-token", "")
    if not hmac.compare_digest(given.encode(), csrf_token(secret).encode()):
        raise Forbidden("With a session, send the token of `GET /api/v1/me` as X-CSRF-Token.")


def check_origin(request: Request) -> None:
    """Raise `Forbidden` for a request that a page of somebody else has made."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    own = request.headers.get("host", "")
    if site not in ("same-origin", "none") or (origin is not None and urlsplit(origin).netloc != own):
        raise Forbidden("A page of another site has sent this.")


def _encrypted(request: Request) -> bool:
    return bool(request.scope.get("scheme") == "https")


def _path(request: Request) -> str:
    return str(request.scope.get("root_path") or "/")


def _name(request: Request) -> str:
    """Browsers take a `__Host-` cookie only from the very host, encrypted, and for all of it."""
    return "__Host-penstock" if _encrypted(request) and _path(request) == "/" else "penstock_session"
