"""Decisions over HTTP: what became of each attempt to start a run."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response
from pydantic import Field

from penstock.model.decision import Decision, Verdict
from penstock.server.access import DecisionReader, Here, ListReader
from penstock.server.bodies import ListQuery, Page, answer, listing
from penstock.server.noun import Noun
from penstock.store import decisions

router = Noun("/decisions", "decisions")


class DecisionQuery(ListQuery):
    """Filters of the list."""

    verdict: Verdict | None = None
    template: str | None = Field(default=None, description="Name of a run template.")
    run_id: str | None = None
    account: str | None = Field(default=None, description="Name of the account that asked.")


@router.get("", response_model=Page[Decision])
def list_decisions(here: Here, who: ListReader, query: Annotated[DecisionQuery, Query()]) -> Response:
    """What became of attempts to start a run, refused ones too, newest first."""
    with here.db.read() as session:
        return listing(decisions.page(session, query.window, **query.filters(), within=who.within), query)


@router.get("/{decision_id}", response_model=Decision)
def get_decision(here: Here, _: DecisionReader, decision_id: str) -> Response:
    """One decision, by id."""
    with here.db.read() as session:
        return answer(decisions.get(session, decision_id))
