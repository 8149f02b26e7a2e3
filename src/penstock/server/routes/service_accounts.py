"""Service accounts and their API keys over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response
from pydantic import Field

from penstock.control import accounts, audit
from penstock.model.account import Account, ApiKey, NewApiKey, Role
from penstock.server.access import Here, Manager
from penstock.server.bodies import ListQuery, Page, Strict, answer, listing
from penstock.server.noun import Noun
from penstock.store import accounts as stored

router = Noun("/service_accounts", "service accounts")


class AccountQuery(ListQuery):
    """Filters of the list."""

    name: str | None = None


class CreateAccount(Strict):
    """A service account to be made."""

    name: str
    description: str | None = Field(default=None, max_length=2000)
    role: Role = Field(default="operator", description="What it may do everywhere.")
    grants: dict[str, Role] = Field(default={}, description="Name of a run template -> its role there.")


class ChangeAccount(Strict):
    """What is to be otherwise; what is left out stays as it is."""

    description: str | None = Field(default=None, max_length=2000)
    role: Role | None = None
    grants: dict[str, Role] | None = Field(default=None, description="In the place of all that it has.")
    active: bool | None = Field(default=None, description="False: all its keys are refused.")


class CreateKey(Strict):
    """An API key to be made. Without `expires_in_days` it is valid until revoked."""

    name: str
    expires_in_days: float | None = Field(default=None, gt=0, le=3650)
    scopes: list[str] | None = Field(
        default=None, description="`verb` or `verb:noun`, to be narrower than the account."
    )
    templates: list[str] | None = Field(default=None, description="Names of the only templates that it is good for.")


class RotateKey(Strict):
    """How long the old text of a rotated key stays valid."""

    retain_minutes: float = Field(default=0, ge=0, le=60 * 24 * 30)


@router.post("", response_model=Account, status_code=201)
def create_service_account(here: Here, _: Manager, wanted: CreateAccount) -> Response:
    """Make a service account."""
    audit.about(wanted.name)
    with here.db.write() as session:
        made = accounts.create(session, **wanted.model_dump())
    return answer(made, 201)


@router.get("", response_model=Page[Account])
def list_service_accounts(here: Here, _: Manager, query: Annotated[AccountQuery, Query()]) -> Response:
    """All service accounts, newest first."""
    with here.db.read() as session:
        return listing(stored.page(session, query.window, kind="service", **query.filters()), query)


@router.get("/{reference}", response_model=Account)
def get_service_account(here: Here, _: Manager, reference: str) -> Response:
    """One service account, by id or name."""
    with here.db.read() as session:
        return answer(accounts.get(session, reference))


@router.patch("/{reference}", response_model=Account)
def change_service_account(here: Here, _: Manager, reference: str, wanted: ChangeAccount) -> Response:
    """Give a service account another role, other grants or another state. It holds at its next request."""
    with here.db.write() as session:
        return answer(accounts.change(session, reference, accounts.Change(**wanted.model_dump())))


@router.delete("/{reference}", status_code=204)
def delete_service_account(here: Here, _: Manager, reference: str) -> Response:
    """Remove a service account; its keys are refused from now on."""
    with here.db.write() as session:
        accounts.delete(session, reference)
    return Response(status_code=204)


@router.post("/{reference}/api_keys", response_model=NewApiKey, status_code=201)
def create_api_key(here: Here, _: Manager, reference: str, wanted: CreateKey) -> Response:
    """Make an API key. Its text is in this answer and never shown again."""
    audit.about(wanted.name)
    with here.db.write() as session:
        wish = accounts.KeyWish(**wanted.model_dump())
        made = accounts.create_key(session, accounts.get(session, reference), wish)
    return answer(made, 201, {"Cache-Control": "no-store"})


@router.get("/{reference}/api_keys", response_model=Page[ApiKey])
def list_api_keys(here: Here, _: Manager, reference: str, query: Annotated[ListQuery, Query()]) -> Response:
    """The keys of a service account, newest first; never their texts."""
    with here.db.read() as session:
        account = accounts.get(session, reference)
        return listing(stored.page_keys(session, account.id, query.window), query)


@router.get("/{reference}/api_keys/{key}", response_model=ApiKey)
def get_api_key(here: Here, _: Manager, reference: str, key: str) -> Response:
    """One key, by id or name; never its text."""
    with here.db.read() as session:
        return answer(stored.get_key(session, accounts.get(session, reference).id, key))


@router.delete("/{reference}/api_keys/{key}", status_code=204)
def revoke_api_key(here: Here, _: Manager, reference: str, key: str) -> Response:
    """Revoke a key: it is refused from now on."""
    with here.db.write() as session:
        accounts.revoke_key(session, accounts.get(session, reference), key)
    return Response(status_code=204)


@router.post("/{reference}/api_keys/{key}/rotate", response_model=NewApiKey)
def rotate_api_key(here: Here, _: Manager, reference: str, key: str, wanted: RotateKey | None = None) -> Response:
    """Give a key a new text; the old one may stay valid for a while."""
    retain = wanted.retain_minutes if wanted else 0
    with here.db.write() as session:
        made = accounts.rotate_key(session, accounts.get(session, reference), key, retain_minutes=retain)
    return answer(made, 200, {"Cache-Control": "no-store"})
