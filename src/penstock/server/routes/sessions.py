"""Sessions of people in browsers over HTTP: sign in, see where one is signed in, sign out."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from penstock.control import audit, sessions, users
from penstock.errors import Conflict, found
from penstock.model.account import Account
from penstock.model.session import NewSession, Session, csrf_token
from penstock.server import cookies
from penstock.server.access import Here, Self, address_of, agent_of
from penstock.server.bodies import ListQuery, Page, Strict, answer, listing
from penstock.server.noun import Noun
from penstock.store import sessions as stored

router = Noun("/sessions", "people")


class SignIn(Strict):
    """Who, and the proof."""

    name: str = Field(max_length=128)
    password: str = Field(max_length=1000)


class SignedIn(BaseModel):
    """A session that has begun. Its secret is in the cookie alone."""

    account: Account
    session: Session
    csrf_token: str = Field(description="To be sent as X-CSRF-Token with every request that changes something.")


@router.post("", response_model=SignedIn, status_code=201)
def sign_in(request: Request, here: Here, wanted: SignIn) -> Response:
    """Begin a session: the answer sets its cookie. Guessing is slowed down (429)."""
    cookies.check_origin(request)
    audit.claimed(wanted.name)
    person = users.verify(here, wanted.name, wanted.password, address_of(request))
    made = sessions.begin(here, person.account, address_of(request), agent_of(request))
    return begun(request, person.account, made)


def begun(request: Request, account: Account, made: NewSession) -> Response:
    """The answer to a successful sign-in."""
    told = {"account": account, "session": made.record, "csrf_token": csrf_token(made.secret)}
    response = answer(told, 201, {"Cache-Control": "no-store"})
    cookies.give(request, response, made)
    return response


@router.get("", response_model=Page[Session])
def list_sessions(here: Here, who: Self, query: Annotated[ListQuery, Query()]) -> Response:
    """Where one is signed in, newest first."""
    with here.db.read() as session:
        return listing(stored.page(session, str(who.account_id), query.window), query)


@router.delete("", status_code=204)
def sign_out_everywhere(request: Request, here: Here, who: Self) -> Response:
    """End all sessions and tokens of one's own, on every device. API keys stay."""
    with here.db.write() as session:
        users.sign_out_everywhere(session, str(who.account_id))
    return _signed_out(request)


@router.delete("/{session_id}", status_code=204)
def sign_out(request: Request, here: Here, who: Self, session_id: str) -> Response:
    """End one session of one's own; `current` is the one that asks."""
    current = getattr(request.state, "session_id", None)
    if session_id == "current" and current is None:
        raise Conflict("This request comes with no session.")
    meant = str(current) if session_id == "current" else session_id
    with here.db.write() as session:
        found(stored.end(session, str(who.account_id), meant) or None, "session", session_id)
    return _signed_out(request) if meant == current else Response(status_code=204)


def _signed_out(request: Request) -> Response:
    response = Response(status_code=204)
    cookies.take_back(request, response)
    return response
