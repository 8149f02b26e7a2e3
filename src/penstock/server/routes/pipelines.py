"""Pipelines over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response
from pydantic import Field

from penstock.model.pipeline import Pipeline
from penstock.server.access import Here, Reader
from penstock.server.bodies import SOUGHT, ListQuery, Page, answer, listing
from penstock.server.noun import Noun
from penstock.store import pipelines

router = Noun("/pipelines", "pipelines")


class PipelineQuery(ListQuery):
    """Filters of the list."""

    name: str | None = None
    q: str | None = Field(default=None, description=SOUGHT)


@router.get("", response_model=Page[Pipeline])
def list_pipelines(here: Here, _: Reader, query: Annotated[PipelineQuery, Query()]) -> Response:
    """All pipelines, newest first."""
    with here.db.read() as session:
        return listing(pipelines.page(session, query.window, name=query.name, words=query.sought(query.q)), query)


@router.get("/{reference}", response_model=Pipeline)
def get_pipeline(here: Here, _: Reader, reference: str) -> Response:
    """One pipeline, by id or name."""
    with here.db.read() as session:
        return answer(pipelines.get(session, reference))
