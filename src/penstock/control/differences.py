"""Two versions of a template side by side, with those whom the difference would hit; and two runs side by side."""

from __future__ import annotations

from dataclasses import replace

from penstock.control import snapshots, templates
from penstock.errors import InvalidInput
from penstock.model.comparison import Comparison, Facts, differences
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.difference import Difference, Hit, cache_lost, changes
from penstock.model.inputs import given_of, resolve
from penstock.model.snapshot import Snapshot
from penstock.model.template import Template
from penstock.store import artifacts, runs
from penstock.store.paging import LARGEST, Window
from penstock.store.runs import RunFilter
from penstock.store.session import ReadSession

RECENT = LARGEST
"""So many of the latest runs of the template have what their callers gave held against the newer version."""


def between(rs: ReadSession, reference: str, before: int | str, after: int | str) -> Difference:
    """The difference between two versions, each by its number or an alias. Raises `NotFound`."""
    template, _ = templates.meant(rs, reference)
    numbers = [templates.version_of(template, one).version for one in (before, after)]
    return compare(rs, template, *numbers)


def compare(rs: ReadSession, template: Template, before: int, after: int) -> Difference:
    """The difference between these two versions: what changed, and which presets and recent runs `after` would refuse."""
    old, new = (snapshots.get(rs, templates.version_of(template, one).snapshot_id) for one in (before, after))
    found = changes(old.content, new.content)
    inputs = _inputs(rs, template)
    looked = [_refused(template, old, new, hit, given) for hit, given in inputs]
    hits = tuple(hit for hit in looked if hit is not None)
    return Difference(
        template=template.name,
        before=before,
        after=after,
        changes=tuple(found),
        cache_lost=tuple(cache_lost(old.content, new.content)),
        checked=len(inputs),
        hits=hits,
        breaking=bool(hits) or any(one.breaking for one in found),
    )


def of_runs(rs: ReadSession, before: str, after: str) -> Comparison:
    """What is different between two runs, by id or name; of any pipelines, ended or not. Raises `NotFound`."""
    old, new = (_facts(rs, one) for one in (before, after))
    snapshot, other = (snapshots.get(rs, facts.run.snapshot_id) for facts in (old, new))
    return Comparison(
        before=old.run.name,
        after=new.run.name,
        versions=tuple(changes(snapshot.content, other.content)) if snapshot.id != other.id else (),
        differences=tuple(differences(old, new)),
    )


def _facts(rs: ReadSession, reference: str) -> Facts:
    run = runs.get(rs, reference)
    steps = runs.steps(rs, run.id)
    used = {one for step in steps.values() for one in (*step.inputs.values(), *step.outputs.values())}
    known = artifacts.get_many(rs, used)
    return Facts(run, steps, {identity: one.digest for identity, one in known.items()})


def _inputs(rs: ReadSession, template: Template) -> list[tuple[Hit, PipelineRunConfiguration]]:
    """What callers give: every preset, and what the latest runs were given."""
    presets = [
        (Hit(kind="preset", name=name), PipelineRunConfiguration(preset=name)) for name in template.terms.presets
    ]
    recent = runs.page(rs, Window(size=RECENT), RunFilter(template=template.id)).items
    return presets + [(Hit(kind="run", name=one.name, account=one.cause.account), given_of(one)) for one in recent]


def _refused(template: Template, old: Snapshot, new: Snapshot, hit: Hit, given: PipelineRunConfiguration) -> Hit | None:
    """`hit` with the reasons, if the newer version refuses what the older one takes."""
    try:
        resolve(old, given, template.terms)
    except InvalidInput:
        return None  # it was refused before: nothing changes for it
    try:
        resolve(new, given, template.terms)
    except InvalidInput as error:
        return replace(hit, faults=tuple(error.errors))
    return None
