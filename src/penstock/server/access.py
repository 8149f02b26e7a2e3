"""Who asks, and whether they may: every route names its permission in its signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from penstock.control import accounts
from penstock.control.installation import Installation
from penstock.errors import Forbidden, Unauthenticated
from penstock.model.account import OWNER, Permission, Principal

_bearer = HTTPBearer(auto_error=False, description="An API key, or the token of a login.")


async def installation(request: Request) -> Installation:
    """The installation that this application serves."""
    found: Installation = request.app.state.installation
    return found


Here = Annotated[Installation, Depends(installation)]


def may(permission: Permission) -> Any:
    """A dependency: the caller, if this permission is theirs; otherwise 401 or 403."""

    def check(request: Request, here: Here) -> Principal:
        principal = _principal(request, here)
        if permission not in principal.permissions:
            raise Forbidden(f"'{principal.name}' may not {permission.value} here: ask for a role that includes it.")
        return principal

    check.permission = permission  # type: ignore[attr-defined]  # the test of the route table reads it
    return Depends(check)


def permission_of(dependency: Callable[..., Any] | None) -> Permission | None:
    """The permission that a dependency made by `may` asks for."""
    return getattr(dependency, "permission", None)


Reader = Annotated[Principal, may(Permission.READ)]
Runner = Annotated[Principal, may(Permission.RUN)]
Writer = Annotated[Principal, may(Permission.WRITE)]
Manager = Annotated[Principal, may(Permission.MANAGE)]
Worker = Annotated[Principal, may(Permission.EXECUTE)]


def _principal(request: Request, here: Installation) -> Principal:
    """The caller. Our Unix socket lies in the owner's private directory: who came through it is the owner."""
    text = request.headers.get("authorization", "")
    kind, _, credential = text.partition(" ")
    if text:
        if kind.lower() != "bearer" or not credential.strip():
            raise Unauthenticated("Send 'Authorization: Bearer <API key or token>'.")
        return _by_credential(here, credential.strip())
    if request.scope.get("server") == (here.address.removeprefix("unix:"), None):
        return OWNER
    raise Unauthenticated("Send an API key or a token: 'Authorization: Bearer <key>'.")


def _by_credential(here: Installation, credential: str) -> Principal:
    if credential.count(".") == 2:  # a signed token: of a run, or of a login
        try:
            return accounts.authenticate_run(here, credential)
        except Unauthenticated:
            pass
    return accounts.authenticate(here, credential)
