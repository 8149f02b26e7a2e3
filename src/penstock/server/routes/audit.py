"""The audit log over HTTP: find, verify, export. There is no way to change it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from fastapi import Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from penstock.control import audit
from penstock.control.installation import Installation
from penstock.errors import InvalidInput, fault
from penstock.model.audit import Entry, Verdict, plain
from penstock.server.access import Here, Manager
from penstock.server.bodies import ListQuery, Moment, Page, answer, listing
from penstock.server.noun import Noun
from penstock.store import audit as stored

router = Noun("/audit", "audit")


class AuditQuery(ListQuery):
    """Filters of the list."""

    action: str | None = None
    object: str | None = None
    account: str | None = Field(default=None, description="Name of the account.")
    key_id: str | None = None
    address: str | None = None
    outcome: Literal["done", "refused"] | None = None
    request_id: str | None = None
    since: Moment | None = Field(default=None, description="A time with its zone.")


@router.get("", response_model=Page[Entry])
def list_entries(here: Here, _: Manager, query: Annotated[AuditQuery, Query()]) -> Response:
    """Who did what, with which key, from where, and what came of it; newest first."""
    with here.db.read() as session:
        return listing(stored.page(session, query.window, **query.filters()), query)


@router.get("/verify", response_model=Verdict)
def verify_entries(
    here: Here,
    _: Manager,
    anchor: Annotated[str | None, Query(description="NUMBER:DIGEST of an entry, as noted elsewhere.")] = None,
) -> Response:
    """Whether all entries are as they were written, where they were, and none is missing."""
    return answer(audit.verify(here, _anchor(anchor)))


@router.get("/export", response_class=StreamingResponse)
def export_entries(here: Here, _: Manager) -> Response:
    """All entries in order, one JSON document a line: each holds the digest of the one before."""
    return StreamingResponse(_lines(here), media_type="application/x-ndjson")


def _lines(here: Installation) -> Iterator[bytes]:
    while audit.seal(here):
        pass
    for entry in audit.entries(here):
        yield msgspec.json.encode(plain(entry)) + b"\n"


def _anchor(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", text)
    if match is None:
        mistake = fault("/query/anchor", "Write NUMBER:DIGEST, as `penstock audit verify` prints it.")
        raise InvalidInput("This is no entry.", errors=[mistake])
    return int(match[1]), match[2]
