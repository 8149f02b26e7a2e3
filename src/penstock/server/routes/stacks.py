"""Stacks over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from penstock.model.stack import Stack
from penstock.server.access import Here, Reader
from penstock.server.bodies import ListQuery, Page, answer, listing
from penstock.server.noun import Noun
from penstock.store import stacks

router = Noun("/stacks", "stacks")


class StackQuery(ListQuery):
    """Filters of the list."""

    name: str | None = None


@router.get("", response_model=Page[Stack])
def list_stacks(here: Here, _: Reader, query: Annotated[StackQuery, Query()]) -> Response:
    """All stacks, newest first."""
    with here.db.read() as session:
        return listing(stacks.page(session, query.window, **query.filters()), query)


@router.get("/{reference}", response_model=Stack)
def get_stack(here: Here, _: Reader, reference: str) -> Response:
    """One stack, by id or name."""
    with here.db.read() as session:
        return answer(stacks.get(session, reference))
