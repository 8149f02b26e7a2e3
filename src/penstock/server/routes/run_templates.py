"""Run templates over HTTP: publish, find, describe, run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from penstock.control import aliases, differences, plans, templates, usage
from penstock.control.bell import QUEUE
from penstock.control.targets import Target
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.decision import Usage
from penstock.model.difference import Difference
from penstock.model.plan import Plan
from penstock.model.run import Run
from penstock.model.template import AliasMove, Template, TemplateDetail, named
from penstock.model.terms import Terms
from penstock.server.access import (
    Here,
    ListReader,
    TemplateReader,
    TemplateRunner,
    TemplateWriter,
    Writer,
)
from penstock.server.bodies import SOUGHT, ListQuery, Page, Strict, answer, listing
from penstock.server.noun import Noun
from penstock.server.template_openapi import describe
from penstock.server.triggers import ENDED, CallbackUrl, Trigger, plain, starts, trigger
from penstock.store import templates as stored

router = Noun("/run_templates", "run templates")


class TemplateQuery(ListQuery):
    """Filters of the list."""

    name: str | None = None
    pipeline: str | None = Field(default=None, description="Id or name of a pipeline.")
    pipeline_id: str | None = None
    tag: list[str] = Field(default=[], description="With several, all of them.")
    q: str | None = Field(default=None, description=SOUGHT)


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


class DiffQuery(BaseModel):
    """The two versions: `v6`, or an alias."""

    model_config = ConfigDict(extra="forbid")

    before: str = Field(alias="from")
    after: str = Field(alias="to")


class Promote(Strict):
    """Which version an alias is to mean."""

    version: str = Field(description="`v7`, or another alias: the version that it means now.")
    allow_breaking: bool = False
    expected: int | None = Field(default=None, ge=0, description="What it must mean until now; 0 for nothing.")
    note: str | None = Field(default=None, max_length=4000)


class Rollback(Strict):
    """Why."""

    note: str | None = Field(default=None, max_length=4000)


@dataclass(frozen=True, kw_only=True)
class TemplateRun(PipelineRunConfiguration):
    """How to run a template, and who is told of the end."""

    callback_url: CallbackUrl = None


@router.post("", response_model=Template, status_code=201, responses={200: {"description": "Nothing was new."}})
def publish_template(request: Request, here: Here, _: Writer, wanted: PublishTemplate) -> Response:
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
    return answer(
        template, 201 if new else 200, {"Location": f"{request.scope['root_path']}/api/v1/run_templates/{template.id}"}
    )


@router.get("", response_model=Page[Template])
def list_templates(here: Here, who: ListReader, query: Annotated[TemplateQuery, Query()]) -> Response:
    """All run templates, newest first."""
    pipeline, words = query.reference("pipeline"), query.sought(query.q)
    with here.db.read() as session:
        found = stored.page(
            session,
            query.window,
            name=query.name,
            pipeline=pipeline,
            tags=query.tag,
            words=words,
            within=who.within,
        )
        return listing(found, query)


@router.get("/{reference}", response_model=TemplateDetail)
def get_template(here: Here, _: TemplateReader, reference: str) -> Response:
    """One run template (`id`, `name`, `name@vN` or `name@alias`) with its parameters and a configuration ready to edit."""
    with here.db.read() as session:
        return answer(templates.describe(session, reference).plain())


@router.get("/{reference}/openapi.json", response_model=dict[str, Any])
def get_template_openapi(here: Here, _: TemplateReader, reference: str) -> Response:
    """The OpenAPI document of one version of the template, from which a typed client can be generated."""
    with here.db.read() as session:
        return answer(describe(*templates.content_of(session, reference)))


@router.patch("/{reference}", response_model=Template)
def annotate_template(here: Here, _: TemplateWriter, reference: str, wanted: AnnotateTemplate) -> Response:
    """Put tags on a run template and take others off."""
    with here.db.write() as session:
        return answer(templates.annotate(session, reference, add=wanted.add_tags, remove=wanted.remove_tags))


@router.get("/{reference}/usage", response_model=list[Usage])
def template_usage(here: Here, _: TemplateReader, reference: str) -> Response:
    """Who has called the template, how often, and what became of it, as far back as decisions are kept."""
    with here.db.read() as session:
        return answer(usage.of_template(session, here, templates.meant(session, reference)[0]))


@router.get("/{reference}/diff", response_model=Difference)
def diff_template(here: Here, _: TemplateReader, reference: str, query: Annotated[DiffQuery, Query()]) -> Response:
    """What is different between two versions, and which presets and recent callers the newer one would refuse."""
    with here.db.read() as session:
        return answer(differences.between(session, reference, named(query.before), named(query.after)))


@router.put("/{reference}/terms", response_model=Template)
def set_terms(
    here: Here,
    _: TemplateWriter,
    reference: str,
    terms: Terms,
    revision: Annotated[int | None, Query(ge=1, description="Only over the terms of this revision.")] = None,
) -> Response:
    """Put these terms (defaults, presets, locked and hidden parameters, limits) in the place of the template's own."""
    with here.db.write() as session:
        session.after_commit(lambda: here.bell.ring(QUEUE))  # a limit that was raised lets in who waits
        return answer(templates.set_terms(session, reference, terms, revision=revision))


@router.put("/{reference}/aliases/{alias}", response_model=Template)
def promote_template(here: Here, who: TemplateWriter, reference: str, alias: str, wanted: Promote) -> Response:
    """Have an alias mean a version. A version that would refuse callers who are right today is itself refused (409)."""
    promotion = aliases.Promotion(
        version=named(wanted.version),
        allow_breaking=wanted.allow_breaking,
        expected=wanted.expected,
        note=wanted.note,
    )
    with here.db.read() as session:
        checked = aliases.check(session, reference, alias, promotion)
    with here.db.write() as session:
        return answer(aliases.promote(session, reference, alias, checked, who))


@router.get("/{reference}/aliases/{alias}", response_model=list[AliasMove])
def alias_history(here: Here, _: TemplateReader, reference: str, alias: str) -> Response:
    """Which versions an alias has meant, newest first."""
    with here.db.read() as session:
        return answer(aliases.moves(session, reference, alias))


@router.post("/{reference}/aliases/{alias}/rollback", response_model=Template)
def rollback_template(
    here: Here, who: TemplateWriter, reference: str, alias: str, wanted: Rollback | None = None
) -> Response:
    """Have an alias mean what it meant before its last move."""
    with here.db.write() as session:
        return answer(aliases.rollback(session, reference, alias, who, note=wanted.note if wanted else None))


@router.delete("/{reference}/aliases/{alias}", response_model=Template)
def remove_alias(here: Here, who: TemplateWriter, reference: str, alias: str) -> Response:
    """Take an alias away; its history stays."""
    with here.db.write() as session:
        return answer(aliases.remove(session, reference, alias, who))


@router.delete("/{reference}", status_code=204)
def delete_template(here: Here, _: TemplateWriter, reference: str) -> Response:
    """Remove a run template; its snapshots and runs stay."""
    with here.db.write() as session:
        templates.delete(session, reference)
    return Response(status_code=204)


@router.post("/{reference}/plan", response_model=Plan)
def plan_template(
    here: Here, who: TemplateRunner, reference: str, configuration: PipelineRunConfiguration | None = None
) -> Response:
    """What a trigger would do, step by step, and a token: sent with the trigger (`Plan-Token`), it holds it to this."""
    with here.db.read() as session:
        target = Target(template=reference)
        return answer(plans.plan(session, here, target, configuration or PipelineRunConfiguration(), within=who.within))


@router.post("/{reference}/runs", response_model=Run, status_code=202, responses=ENDED)
@starts(lambda path: Target(template=path["reference"]))
async def run_template(
    request: Request,
    here: Here,
    who: TemplateRunner,
    reference: str,
    wanted: TemplateRun | None = None,
) -> Response:
    """Trigger a run of the template. An answer of 2xx means that the run is stored and will be carried out."""
    asked = wanted or TemplateRun()
    wish = Trigger(Target(template=reference), plain(asked), who, callback_url=asked.callback_url)
    return await trigger(request, here, wish)
