"""People over HTTP: inviting them, what they may do, and what each does with their own account."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from penstock.control import accounts, audit, users
from penstock.control.throttle import Guess
from penstock.errors import Forbidden
from penstock.model.account import Account, ApiKey, NewApiKey, Role
from penstock.model.session import csrf_token
from penstock.server import cookies
from penstock.server.access import Here, Manager, Self, address_of
from penstock.server.bodies import ListQuery, Page, Strict, answer, listing
from penstock.server.noun import Noun
from penstock.server.routes.service_accounts import AccountQuery, ChangeAccount, CreateKey
from penstock.store import accounts as stored

router = Noun("/users", "people")
own = Noun("/me", "people")


class InviteUser(Strict):
    """A person who is to have an account."""

    name: str
    description: str | None = Field(default=None, max_length=2000)
    role: Role = Field(default="viewer", description="What they may do everywhere.")
    grants: dict[str, Role] = Field(default={}, description="Name of a run template -> their role there.")


class Invitation(BaseModel):
    """The code goes to the person, who activates the account with it. It is in this answer, and never shown again."""

    account: Account
    code: str
    expires_in: int = Field(description="Seconds.")


class Activate(Strict):
    """A code, and the password that the account is to have."""

    code: str = Field(max_length=200)
    password: str = Field(max_length=1000)
    name: str | None = Field(default=None, description="Of the first account, which the server's own code makes.")


class ChangePassword(Strict):
    """The password as it is, and as it is to be."""

    current: str = Field(max_length=1000)
    new: str = Field(max_length=1000)


class Me(BaseModel):
    """Who one is to this server, and what one may do."""

    kind: str
    name: str
    account: Account | None
    permissions: list[str]
    csrf_token: str | None = Field(description="With a session: what goes into X-CSRF-Token.")


@router.post("", response_model=Invitation, status_code=201)
def invite_user(here: Here, _: Manager, wanted: InviteUser) -> Response:
    """Make an account for a person, with a code to activate it."""
    audit.about(wanted.name)
    with here.db.write() as session:
        made = users.invite(session, **wanted.model_dump())
    return answer(made, 201, {"Cache-Control": "no-store"})


@router.get("", response_model=Page[Account])
def list_users(here: Here, _: Manager, query: Annotated[AccountQuery, Query()]) -> Response:
    """All people with an account, newest first."""
    with here.db.read() as session:
        return listing(stored.page(session, query.window, kind="person", **query.filters()), query)


@router.get("/{reference}", response_model=Account)
def get_user(here: Here, _: Manager, reference: str) -> Response:
    """One person, by id or name."""
    with here.db.read() as session:
        return answer(accounts.get(session, reference, "person"))


@router.patch("/{reference}", response_model=Account)
def change_user(here: Here, _: Manager, reference: str, wanted: ChangeAccount) -> Response:
    """Give a person another role, other grants or another state. It holds at their next request."""
    with here.db.write() as session:
        return answer(accounts.change(session, reference, accounts.Change(**wanted.model_dump()), "person"))


@router.delete("/{reference}", status_code=204)
def delete_user(here: Here, _: Manager, reference: str) -> Response:
    """Remove a person's account with its sessions and keys."""
    with here.db.write() as session:
        accounts.delete(session, reference, "person")
    return Response(status_code=204)


@router.post("/{reference}/reset", response_model=Invitation)
def reset_user(here: Here, _: Manager, reference: str) -> Response:
    """A code with which the person gives themselves another password."""
    with here.db.write() as session:
        made = users.reset(session, accounts.get(session, reference, "person"))
    return answer(made, headers={"Cache-Control": "no-store"})


@router.post("/activate", response_model=Account, status_code=201)
def activate(request: Request, here: Here, wanted: Activate) -> Response:
    """Give an account its password, with a code that is good once. Guessing is slowed down (429)."""
    cookies.check_origin(request)
    audit.claimed(wanted.name or "(by a code)")
    guess = Guess("", address_of(request))
    return answer(users.activate(here, wanted.code, wanted.password, wanted.name, guess), 201)


@own.get("", response_model=Me)
def get_me(request: Request, here: Here, who: Self) -> Response:
    """Who one is, and what one may do."""
    account = None
    if who.account_id is not None:
        with here.db.read() as session:
            account = stored.get(session, who.account_id)
    secret = cookies.secret_in(request) if getattr(request.state, "session_id", None) else None
    told = {"kind": who.kind, "name": who.name, "account": account, "permissions": sorted(who.permissions)}
    return answer({**told, "csrf_token": csrf_token(secret) if secret else None}, headers={"Cache-Control": "no-store"})


@own.put("/password", status_code=204)
def change_password(request: Request, here: Here, who: Self, wanted: ChangePassword) -> Response:
    """Another password for oneself: all sessions and tokens end, this one too. Guessing is slowed down (429)."""
    users.change_password(here, str(who.account_id), wanted.current, wanted.new, address_of(request))
    response = Response(status_code=204)
    cookies.take_back(request, response)
    return response


@own.get("/api_keys", response_model=Page[ApiKey])
def list_own_keys(here: Here, who: Self, query: Annotated[ListQuery, Query()]) -> Response:
    """One's own keys, newest first; never their texts."""
    with here.db.read() as session:
        return listing(stored.page_keys(session, str(who.account_id), query.window), query)


@own.post("/api_keys", response_model=NewApiKey, status_code=201)
def create_own_key(here: Here, who: Self, wanted: CreateKey) -> Response:
    """Make a key of one's own, as good as one's account or narrower. Its text is in this answer and never shown again."""
    if who.account_id is None or who.key_id is not None:
        raise Forbidden("A key is made by a person who is signed in, not with another key.")
    audit.about(wanted.name)
    with here.db.write() as session:
        account = stored.get(session, who.account_id)
        made = accounts.create_key(session, account, accounts.KeyWish(**wanted.model_dump()))
    return answer(made, 201, {"Cache-Control": "no-store"})


@own.delete("/api_keys/{key}", status_code=204)
def revoke_own_key(here: Here, who: Self, key: str) -> Response:
    """Revoke a key of one's own."""
    with here.db.write() as session:
        stored.revoke_key(session, stored.get_key(session, str(who.account_id), key).id)
    return Response(status_code=204)
