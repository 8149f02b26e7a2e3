"""Logging in over HTTP: a short-lived token for what somebody has."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from penstock.control import accounts, audit, devices, trusts, users
from penstock.control.installation import Installation
from penstock.errors import InvalidInput, MalformedRequest, fault
from penstock.model.strict_json import loads
from penstock.server.access import Here, address_of
from penstock.server.bodies import answer, takes
from penstock.server.noun import Noun

router = Noun("/login", "people")

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
"""RFC 8693: a token of another issuer (`subject_token`) for one of ours."""

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
"""RFC 8628: a device polls with its `device_code`. What it gets is a key, good for longer."""

_TEXT = {"type": "string", "minLength": 1}
_FIELDS = ("api_key", "username", "password", "grant_type", "subject_token", "device_code")
_LOGIN: dict[str, Any] = {"type": "object", "properties": dict.fromkeys(_FIELDS, _TEXT)}


@router.post("", openapi_extra=takes("application/json", _LOGIN))
async def log_in(request: Request, here: Here) -> Response:
    """A token for one hour in exchange for an API key (`{"api_key": ...}`, or a form with the key as `password`).

    Or for a token of an issuer that is trusted: `grant_type` token-exchange and `subject_token`.
    Or for the `device_code` of a device that its owner has let in (`grant_type` device_code): that is a key.
    Or for a name and a password: `username` and `password`, as JSON or as a form. Guessing is slowed down (429).
    """
    given = _given(await request.body(), request)
    if given.get("grant_type") == DEVICE:
        key = (await run_in_threadpool(devices.poll, here, given.get("device_code", ""))).key
        content = {"access_token": key, "token_type": "bearer", "expires_in": int(devices.KEY_DAYS * 24 * 3600)}
        return answer(content, headers={"Cache-Control": "no-store"})
    token = await run_in_threadpool(_token, here, given, address_of(request))
    content = {"access_token": token, "token_type": "bearer", "expires_in": int(accounts.TOKEN_LIFETIME)}
    return answer(content, headers={"Cache-Control": "no-store"})


def _token(here: Installation, given: dict[str, str], address: str) -> str:
    """A token for what was given: a name with its password, or an API key."""
    password = given.get("password", "")
    audit.claimed(given.get("username") or "(by a key)")
    if given.get("grant_type") == EXCHANGE:
        token = trusts.log_in(here, given.get("subject_token", ""))
        audit.note(here)
        return token
    if given.get("username") and not password.startswith("psk_"):
        return accounts.user_token(here, users.verify(here, given["username"], password, address))
    key = given.get("api_key") or password
    if not key:
        raise InvalidInput("An API key is needed.", errors=[fault("/api_key", "Give the API key as a string.")])
    token = accounts.log_in(here, key)
    audit.note(here)
    return token


def _given(body: bytes, request: Request) -> dict[str, str]:
    """What a login's body says, JSON or form: names with texts."""
    try:
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return dict(parse_qsl(body.decode(), max_num_fields=20))
        content = loads(body)
    except ValueError as error:
        raise MalformedRequest(f"The body cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise InvalidInput("An API key is needed.", errors=[fault("/api_key", "Give the API key as a string.")])
    return {name: value for name, value in content.items() if isinstance(value, str)}
