"""Run templates: publishing snapshots under a name, and finding what a name means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from penstock.control import flow, snapshots
from penstock.control.installation import now
from penstock.errors import Conflict, InvalidInput, NotFound, fault
from penstock.ids import check_name, new_id
from penstock.model.inputs import check_terms
from penstock.model.snapshot import Snapshot
from penstock.model.template import (
    LATEST,
    Template,
    TemplateDetail,
    TemplateVersion,
    config_template,
    parse_reference,
)
from penstock.model.terms import Terms, visible
from penstock.store import runs, templates
from penstock.store.session import ReadSession, WriteSession

SUGGESTIONS = 50
"""How many names are told to somebody who asks for one that there is not."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What is to be published under a name: a snapshot, or the one that a run was made from."""

    name: str
    snapshot: str | None = None
    run: str | None = None
    description: str | None = None
    tags: Sequence[str] = ()


def publish(ws: WriteSession, publication: Publication) -> tuple[Template, bool]:
    """Make a template, or the next version of the one that has this name. Returns it, and whether anything is new.

    Publishing the snapshot that is the latest version already makes no new one. A description replaces the one before,
    tags are added. A name keeps to one pipeline: another pipeline's snapshot is a `Conflict`.
    """
    name = check_name(publication.name, what="run template")
    snapshot = _published(ws, publication)
    if not snapshot.runnable:
        raise Conflict(
            f"This snapshot cannot be run again: {snapshot.content.code_note or 'its code was not archived'}."
        )
    at = now()
    try:
        existing = templates.get(ws, name)
    except NotFound:
        template = Template(
            id=new_id(),
            name=name,
            description=publication.description or snapshot.content.description,
            tags=_tags(publication),
            pipeline_id=snapshot.pipeline_id,
            pipeline_name=snapshot.content.pipeline,
            versions=(TemplateVersion(version=1, snapshot_id=snapshot.id, created=at),),
            created=at,
        )
        templates.insert(ws, template)
        return template, True
    if existing.pipeline_id != snapshot.pipeline_id:
        raise Conflict(
            f"Run template '{name}' belongs to pipeline '{existing.pipeline_name}', "
            f"this snapshot to '{snapshot.content.pipeline}'. Choose another name."
        )
    told = replace(
        existing,
        description=publication.description or existing.description,
        tags=tuple(dict.fromkeys((*existing.tags, *_tags(publication)))),
    )
    if told != existing:
        templates.save(ws, told)
    new = existing.latest.snapshot_id != snapshot.id
    if new:
        templates.publish(ws, existing.id, snapshot.id, at)
    return templates.get(ws, existing.id), new


def annotate(ws: WriteSession, reference: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Template:
    """Put tags on a template and take others off; its versions stay as they are."""
    template = meant(ws, reference)[0]
    added = [check_name(tag, what="tag", at="/add_tags") for tag in add]
    tags = tuple(dict.fromkeys(tag for tag in (*template.tags, *added) if tag not in remove))
    templates.save(ws, replace(template, tags=tags))
    return templates.get(ws, template.id)


def set_terms(ws: WriteSession, reference: str, terms: Terms, *, revision: int | None = None) -> Template:
    """Put these terms in the place of the template's own. They must fit the version that the bare name means.

    With `revision` they are only put over those of that revision. Raises `InvalidInput` with every mistake, `Conflict` if
    somebody else was faster.
    """
    template = meant(ws, reference)[0]
    if revision is not None and revision != template.revision:
        raise Conflict(
            f"The terms of '{template.name}' are at revision {template.revision} by now, not at {revision}: read them again."
        )
    check_terms(snapshots.get(ws, template.current.snapshot_id), terms)
    if terms != template.terms and not templates.set_terms(ws, template, terms):
        raise Conflict(f"The terms of '{template.name}' were changed meanwhile: read them again.")
    changed = templates.get(ws, template.id)
    flow.apply(ws, changed)
    return changed


def delete(ws: WriteSession, reference: str) -> None:
    """Remove a template; its snapshots and runs stay."""
    template = templates.get(ws, reference)
    flow.lift(ws, template)
    templates.remove(ws, template.id)


def meant(rs: ReadSession, reference: str) -> tuple[Template, TemplateVersion]:
    """The template and version that `name`, `name@vN`, `name@alias` or an id stands for."""
    name, number = parse_reference(reference)
    try:
        template = templates.get(rs, name)
    except NotFound as error:
        known = templates.names(rs)
        near = difflib.get_close_matches(name, known, n=SUGGESTIONS // 5)
        told = tuple(dict.fromkeys([*near, *known]))[:SUGGESTIONS]
        mistake = fault("/template", "There is no such run template.", allowed=told, given=name)
        raise NotFound(error.detail, errors=[mistake]) from None
    return template, version_of(template, number)


def version_of(template: Template, wanted: int | str | None) -> TemplateVersion:
    """The version with this number or alias; None is the one that the bare name means. Raises `NotFound`."""
    if wanted is None:
        return template.current
    if wanted == LATEST:
        return template.latest
    number = template.aliases.get(wanted) if isinstance(wanted, str) else wanted
    version = template.version(number)
    if version is None:
        named = f"v{wanted}" if isinstance(wanted, int) else wanted
        known = (*template.aliases, LATEST, *(f"v{one.version}" for one in reversed(template.versions)))
        mistake = fault("/template", "It has no such version or alias.", allowed=known[:SUGGESTIONS], given=named)
        raise NotFound(f"Run template '{template.name}' has no '{named}'.", errors=[mistake])
    return version


def content_of(rs: ReadSession, reference: str) -> tuple[Template, TemplateVersion, Snapshot]:
    """What `reference` stands for, with the snapshot that this version is."""
    template, version = meant(rs, reference)
    return template, version, snapshots.get(rs, version.snapshot_id)


def describe(rs: ReadSession, reference: str) -> TemplateDetail:
    """The template with the parameters of the version that `reference` means."""
    template, version, snapshot = content_of(rs, reference)
    return TemplateDetail(
        template=template,
        version=version.version,
        parameter_schema=visible(snapshot.content.parameter_schema, template.terms),
        output_schema=snapshot.content.output_schema,
        config_template=config_template(snapshot, template.terms),
        steps=tuple(one.id for one in snapshot.content.graph.invocations),
    )


def _tags(publication: Publication) -> tuple[str, ...]:
    return tuple(dict.fromkeys(check_name(tag, what="tag", at="/tags") for tag in publication.tags))


def _published(rs: ReadSession, publication: Publication) -> Snapshot:
    if (publication.snapshot is None) == (publication.run is None):
        mistakes = [fault("/snapshot_id", "Give either a snapshot or a run."), fault("/run_id", "Give one of the two.")]
        raise InvalidInput("A template is made from one snapshot, or from one run.", errors=mistakes)
    if publication.snapshot is not None:
        return snapshots.get(rs, publication.snapshot)
    return snapshots.get(rs, runs.get(rs, str(publication.run)).snapshot_id)
