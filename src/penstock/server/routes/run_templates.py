"""Run templates over HTTP: publish, find, describe, run."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from penstock.control import runs, templates
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.run import Run
from penstock.model.template import Template, TemplateDetail
from penstock.server.access import Here, Reader, Runner, Writer
from penstock.server.bodies import ListQuery, Page, Strict, answer, listing
from penstock.server.strict_json import StrictRoute
from penstock.server.template_openapi import describe
from penstock.server.triggers import Trigger, trigger
from penstock.store import templates as stored

router = APIRouter(route_class=StrictRoute, prefix="/run_templates", tags=["run templates"])


class TemplateQuery(ListQuery):
    """Filters of the list."""

    name: str | None = None
    pipeline: str | None = Field(default=None, description="Id or name of a pipeline.")
    pipeline_id: str | None = None
    tag: str | None = None


class PublishTemplate(Strict):
    """A snapshot, or the one a run was made from, to be published under a name."""

    name: str
    snapshot_id: str | None = Field(default=None, description="Id or name of a snapshot.")
    run_id: str | None = Field(default=None, description="Id or name of a run.")
    description: str | None = Field(default=None, max_length=4000)
    tags: tuple[str, ...] = Field(default=(), max_length=50)


class AnnotateTemplate(Strict):
    """Tags to be put on a template, and to be taken off."""

    add_tags: tuple[str, ...] = Field(default=(), max_length=50)
    remove_tags: tuple[str, ...] = Field(default=(), max_length=50)


@router.post("", response_model=Template, status_code=201, responses={200: {"description": "Nothing was new."}})
def publish_template(here: Here, _: Writer, wanted: PublishTemplate) -> Response:
    """Make a run template, or the next version of the one that has this name."""
    publication = templates.Publication(
        name=wanted.name,
        snapshot=wanted.snapshot_id,
        run=wanted.run_id,
        description=wanted.description,
        tags=wanted.tags,
    )
    with here.db.write() as session:
        template, new = templates.publish(session, publication)
    return answer(template, 201 if new else 200, {"Location": f"/api/v1/run_templates/{template.id}"})


@router.get("", response_model=Page[Template])
def list_templates(here: Here, _: Reader, query: Annotated[TemplateQuery, Query()]) -> Response:
    """All run templates, newest first."""
    wanted = {"name": query.name, "pipeline": query.reference("pipeline"), "tag": query.tag}
    with here.db.read() as session:
        return listing(stored.page(session, query.window, **wanted), query)


@router.get("/{reference}", response_model=TemplateDetail)
def get_template(here: Here, _: Reader, reference: str) -> Response:
    """One run template (`id`, `name` or `name@vN`) with its parameters and a configuration ready to edit."""
    with here.db.read() as session:
        return answer(templates.describe(session, reference).plain())


@router.get("/{reference}/openapi.json", response_model=dict[str, Any])
def get_template_openapi(here: Here, _: Reader, reference: str) -> Response:
    """The OpenAPI document of one version of the template, from which a typed client can be generated."""
    with here.db.read() as session:
        return answer(describe(*templates.content_of(session, reference)))


@router.patch("/{reference}", response_model=Template)
def annotate_template(here: Here, _: Writer, reference: str, wanted: AnnotateTemplate) -> Response:
    """Put tags on a run template and take others off."""
    with here.db.write() as session:
        return answer(templates.annotate(session, reference, add=wanted.add_tags, remove=wanted.remove_tags))


@router.delete("/{reference}", status_code=204)
def delete_template(here: Here, _: Writer, reference: str) -> Response:
    """Remove a run template; its snapshots and runs stay."""
    with here.db.write() as session:
        templates.delete(session, reference)
    return Response(status_code=204)


@router.post("/{reference}/runs", response_model=Run, status_code=202)
async def run_template(
    request: Request,
    here: Here,
    who: Runner,
    reference: str,
    configuration: PipelineRunConfiguration | None = None,
) -> Response:
    """Trigger a run of the template. An answer of 2xx means that the run is stored and will be carried out."""
    wish = Trigger(runs.Target(template=reference), configuration or PipelineRunConfiguration(), who)
    return await trigger(request, here, wish)
