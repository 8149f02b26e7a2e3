"""Trust in tokens of other issuers, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response
from pydantic import Field

from penstock.control import audit, trusts
from penstock.model.trust import LONGEST, Trust
from penstock.server.access import Here, Manager
from penstock.server.bodies import ListQuery, Page, Strict, answer, listing
from penstock.server.noun import Noun
from penstock.store import trusts as stored

router = Noun("/trusts", "trusts")


class TrustQuery(ListQuery):
    """Filters of the list."""

    name: str | None = None
    issuer: str | None = None


class CreateTrust(Strict):
    """Whose tokens, made for whom, saying what, stand for which service account."""

    name: str
    issuer: str = Field(max_length=1000, description="As the tokens have it in `iss`; its keys are found from there.")
    audience: str = Field(min_length=1, max_length=1000, description="What `aud` has to be, or to contain.")
    account: str = Field(description="Id or name of a service account.")
    conditions: dict[str, str] = Field(description="Claim -> what it has to be; `*` stands for any characters.")
    max_lifetime: int = Field(default=3600, ge=1, le=LONGEST, description="Seconds from `iat` to `exp`, at most.")
    single_use: bool = Field(default=False, description="A token is exchanged once, and good for nothing else.")


@router.post("", response_model=Trust, status_code=201)
def create_trust(here: Here, _: Manager, wanted: CreateTrust) -> Response:
    """Trust in tokens of an issuer that meet conditions: they stand for a service account."""
    audit.about(wanted.name)
    with here.db.write() as session:
        return answer(trusts.create(session, trusts.Wish(**wanted.model_dump())), 201)


@router.get("", response_model=Page[Trust])
def list_trusts(here: Here, _: Manager, query: Annotated[TrustQuery, Query()]) -> Response:
    """All trusts, newest first."""
    with here.db.read() as session:
        return listing(stored.page(session, query.window, **query.filters()), query)


@router.get("/{reference}", response_model=Trust)
def get_trust(here: Here, _: Manager, reference: str) -> Response:
    """One trust, by id or name."""
    with here.db.read() as session:
        return answer(stored.get(session, reference))


@router.delete("/{reference}", status_code=204)
def delete_trust(here: Here, _: Manager, reference: str) -> Response:
    """Trust no more: tokens that came under it are refused from now on, and what they were exchanged for."""
    with here.db.write() as session:
        stored.remove(session, stored.get(session, reference).id)
    return Response(status_code=204)
