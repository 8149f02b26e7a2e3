"""Devices over HTTP: asking (RFC 8628), and the page on which their owner answers."""

from __future__ import annotations

from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from penstock.control import audit, devices, sessions, users
from penstock.control.installation import Installation
from penstock.control.throttle import Guess
from penstock.errors import Forbidden, MalformedRequest, PenstockError, Unauthenticated
from penstock.model.device import Device
from penstock.model.session import csrf_token
from penstock.server import cookies
from penstock.server.access import Here, Self, address_of, agent_of
from penstock.server.bodies import Strict, answer
from penstock.server.noun import Noun, StrictRoute

router = Noun("/devices", "people")
page = APIRouter(route_class=StrictRoute, tags=["people"], include_in_schema=False)


class AskDevice(Strict):
    """Who asks."""

    client_id: str = Field(default="", max_length=200, description="What the device calls itself.")


class AskedDevice(BaseModel):
    """RFC 8628, section 3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class AnswerDevice(Strict):
    """The owner's word."""

    approve: bool


@router.post("", response_model=AskedDevice)
def ask_device(request: Request, here: Here, wanted: AskDevice) -> Response:
    """Ask for access: show `user_code`, and poll `POST /api/v1/login` with `device_code`."""
    asked = devices.ask(here, wanted.client_id, address_of(request))
    where = f"{str(request.base_url).rstrip('/')}/device"
    told = {"verification_uri": where, "verification_uri_complete": f"{where}?{urlencode({'code': asked.user_code})}"}
    content: dict[str, Any] = {"device_code": asked.device_code, "user_code": asked.user_code, **told}
    content |= {"expires_in": asked.expires_in, "interval": asked.interval}
    return answer(content, headers={"Cache-Control": "no-store"})


@router.post("/{user_code}/answer", status_code=204)
def answer_device(request: Request, here: Here, who: Self, user_code: str, wanted: AnswerDevice) -> Response:
    """Let a device in as oneself, for thirty days, or not."""
    if who.kind != "person" or who.key_id is not None:
        raise Forbidden("A person who is signed in answers, not a key.")
    guess = Guess("device", address_of(request))
    devices.answer(here, user_code, str(who.account_id), guess, approve=wanted.approve)
    return Response(status_code=204)


@page.get("/device")
def get_device_page(request: Request, here: Here, code: str = "") -> Response:
    """Where the owner of a device types its code, signs in if need be, and answers."""
    return _page(request, here, code)


@page.post("/device")
async def post_device_page(request: Request, here: Here) -> Response:
    """What was typed there."""
    try:
        given = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError as error:
        raise MalformedRequest(f"The form cannot be read: {error}.") from error
    return await run_in_threadpool(_typed, request, here, given)


def _typed(request: Request, here: Installation, given: dict[str, str]) -> Response:
    cookies.check_origin(request)
    code = given.get("code", "")
    try:
        if "password" in given:
            audit.claimed(given.get("name", ""))
            person = users.verify(here, given.get("name", ""), given["password"], address_of(request))
            made = sessions.begin(here, person.account, address_of(request), agent_of(request))
            there = f"{request.scope.get('root_path', '')}/device?{urlencode({'code': code})}"
            response = Response(status_code=303, headers={"Location": there})
            cookies.give(request, response, made)
            return response
        if "answer" in given:
            secret = cookies.secret_in(request) or ""
            _, who = sessions.authenticate(here, secret)
            cookies.check(request, secret, given.get("csrf_token", ""))
            audit.proved(who)
            guess = Guess("device", address_of(request))
            approve = given["answer"] == "approve"
            device = devices.answer(here, code, str(who.account_id), guess, approve=approve)
            said = f"{device.client} is let in as {who.name}." if approve else "It is not let in."
            return _html(f"<p>{escape(said)} You can close this page.</p>")
    except PenstockError as error:
        if error.status >= 500:
            raise
        return _page(request, here, code, said=error)
    return _page(request, here, code)


def _page(request: Request, here: Installation, code: str, *, said: PenstockError | None = None) -> Response:
    """The one of the three forms that is next: the code, the sign-in, the answer."""
    status = said.status if said is not None else 200
    words = f"<p><strong>{escape(said.detail)}</strong></p>" if said is not None else ""
    hidden = f'<input type="hidden" name="code" value="{escape(code)}">'
    secret = cookies.secret_in(request)
    who = None
    if secret is not None:
        try:
            who = sessions.authenticate(here, secret)[1]
        except Unauthenticated:
            who = None
    if not code or (said is not None and said.status == 404):
        form = '<p>Type the code that your device shows.</p><input name="code" autofocus autocomplete="off">'
        return _html(f'{words}<form method="get" action="">{form}<button>Go on</button></form>', status)
    if secret is None or who is None:
        form = '<p>Sign in to answer.</p><p><label>Name <input name="name" autocomplete="username"></label></p>'
        form += '<p><label>Password <input name="password" type="password" autocomplete="current-password"></label></p>'
        return _html(f'{words}<form method="post" action="">{hidden}{form}<button>Sign in</button></form>', status)
    try:
        device = devices.shown(here, code, Guess("device", address_of(request)))
    except PenstockError as error:
        if said is not None:
            return _html(words, status)
        return _page(request, here, "", said=error)
    hidden += f'<input type="hidden" name="csrf_token" value="{csrf_token(secret)}">'
    form = '<button name="answer" value="approve">Let it in</button> <button name="answer" value="deny">No</button>'
    return _html(f'{words}{_told(device, who.name)}<form method="post" action="">{hidden}{form}</form>', status)


def _told(device: Device, name: str) -> str:
    told = f"{device.client}, from {device.address or 'somewhere'}, asks to be let in as {name}, for thirty days."
    return (
        f"<p>{escape(told)}</p><p>Its code is <code>{escape(device.user_code)}</code>. "
        "If you have not just started this yourself, say no.</p>"
    )


def _html(body: str, status: int = 200) -> Response:
    document = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Penstock: a device asks</title>'
        f'<meta name="viewport" content="width=device-width"><main><h1>Penstock</h1>{body}</main></html>'
    )
    headers: dict[str, Any] = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    }
    return Response(document, status_code=status, headers=headers, media_type="text/html")
