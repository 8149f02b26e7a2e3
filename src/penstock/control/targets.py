"""What a trigger names and gives, held against what there is: all that can be found wrong before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from penstock.control import reach, snapshots, templates
from penstock.control.artifacts import resolve as resolve_artifact
from penstock.control.installation import now
from penstock.errors import Conflict, InvalidInput, NotFound, fault, pointer
from penstock.model.artifact import FROZEN, Artifact, is_reference
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration
from penstock.model.inputs import Effective, resolve
from penstock.model.run import Run, RunState
from penstock.model.snapshot import Snapshot
from penstock.model.template import Template, TemplateVersion
from penstock.model.terms import Layer, Terms
from penstock.store import runs
from penstock.store import templates as stored
from penstock.store.session import ReadSession
from penstock.store.templates import TEMPLATES


@dataclass(frozen=True, kw_only=True)
class Target:
    """What to run, in one of three ways: a template (`name`, `name@vN`, id), a snapshot, a pipeline (its latest)."""

    template: str | None = None
    snapshot: str | None = None
    pipeline: str | None = None
    like: str | None = None
    """A run, by id or name, whose values hold unless the caller gives others. Its snapshot, if nothing else is named."""

    @property
    def named(self) -> list[str]:
        """Which of the three ways are used."""
        return [name for name in ("template", "snapshot", "pipeline") if getattr(self, name) is not None]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A trigger that could be carried out now."""

    snapshot: Snapshot
    effective: Effective
    """Artifacts among the parameters stand by their ids."""

    artifacts: dict[str, Artifact]
    """Parameter -> the artifact that it is."""

    terms: Terms | None
    """Those of the template."""

    origin: Run
    """A run record that knows where it comes from, and nothing else yet."""


def prepare(
    rs: ReadSession,
    target: Target,
    configuration: PipelineRunConfiguration,
    *,
    here: bool = False,
    within: frozenset[str] | None = None,
) -> Prepared:
    """Find what `target` means and lay the configuration over it.

    Raises `NotFound` for an unknown target, `InvalidInput` with every mistake in the input, and `Conflict` for a snapshot
    that no launcher can carry out, unless the caller does it (`here`). With `within` there is nothing besides these templates.
    """
    if within is not None:
        _hold(rs, within, target)
    like = runs.get(rs, target.like) if target.like is not None else None
    meant = _again(rs, like) if like is not None and not target.named else _resolved(rs, target)
    snapshot, terms = meant.snapshot, meant.terms
    if not snapshot.runnable and not here:
        raise Conflict(f"This snapshot cannot be run: {snapshot.content.code_note or 'its code was not archived'}.")
    under = _values_of(like, snapshot) if like is not None else None
    effective = resolve(snapshot, configuration, terms, under=under, revision=meant.revision)
    parameters, given = _frozen_artifacts(rs, snapshot, effective.parameters, within)
    return Prepared(
        snapshot=snapshot,
        effective=replace(effective, parameters=parameters),
        artifacts=given,
        terms=terms,
        origin=meant.origin,
    )


def _hold(rs: ReadSession, within: frozenset[str], target: Target) -> None:
    """Raise `NotFound` for all but these templates and their runs."""
    if target.like is not None:
        reach.run(rs, within, target.like)
    if target.template is not None:
        reach.template(rs, within, target.template)
    for kind, name in (("snapshot", target.snapshot), ("pipeline", target.pipeline)):
        if name is not None:
            raise NotFound(f"There is no {kind} '{name}'.")


def snapshot_of(rs: ReadSession, target: Target) -> Snapshot:
    """What a target that names something means now. Raises `NotFound`."""
    return _resolved(rs, target).snapshot


class _Meant(NamedTuple):
    """What a target means now. `revision` is that of the terms, where they are those of the template as it is."""

    snapshot: Snapshot
    terms: Terms | None
    origin: Run
    revision: int | None = None


def _again(rs: ReadSession, run: Run) -> _Meant:
    """What a run was of. Its values are those that it had; what its template keeps to itself, callers cannot change."""
    plain = _resolved(rs, Target(snapshot=run.snapshot_id))
    try:
        terms = stored.get(rs, run.template_id).terms if run.template_id is not None else None
    except NotFound:  # a run outlives its template
        terms = None
    if terms is None:
        return plain
    kept = {name: run.parameters[name] for name in terms.locked if name in run.parameters}
    known = plain.snapshot.content.parameter_schema.get("properties", {})
    hidden = tuple(name for name in terms.hidden if name in known)
    named = replace(
        plain.origin,
        template_id=run.template_id,
        template_name=run.template_name,
        template_version=run.template_version,
    )
    held = Terms(limits=terms.limits, locked=kept, hidden=hidden, price_per_hour=terms.price_per_hour)
    return _Meant(plain.snapshot, held, named)


def _values_of(run: Run, snapshot: Snapshot) -> Layer:
    """What a run had, as something that is said of another one. Of another snapshot the defaults are that one's own."""
    own = run.snapshot_id != snapshot.id

    def carried(at: str) -> bool:
        return not own or run.origins.get(at, "default") not in ("default", "snapshot")

    steps = dict(run.configuration.steps)
    for step, values in run.step_parameters.items():
        kept = {name: value for name, value in values.items() if carried(pointer("steps", step, "parameters", name))}
        steps[step] = replace(steps.get(step, StepConfiguration()), parameters=kept)
    parameters = {name: value for name, value in run.parameters.items() if carried(pointer("parameters", name))}
    said = replace(run.configuration, parameters=parameters, steps=steps, tags=run.tags, preset=None)
    return Layer(f"run {run.name}", said, ("replayed",), held=True)


def _frozen_artifacts(
    rs: ReadSession, snapshot: Snapshot, parameters: dict[str, Any], within: frozenset[str] | None
) -> tuple[dict[str, Any], dict[str, Artifact]]:
    """The parameters with each artifact by its id, whatever its name means later; and those artifacts.

    Raises `InvalidInput` with every reference that means nothing.
    """
    given: dict[str, Artifact] = {}
    faults = []
    for name, described in snapshot.content.parameter_schema.get("properties", {}).items():
        if not is_reference(described) or parameters.get(name) is None:
            continue
        try:
            if within is not None:
                reach.artifact(rs, within, str(parameters[name]))
            given[name] = resolve_artifact(rs, str(parameters[name]), at=f"/parameters/{name}")
        except NotFound as error:
            faults += error.errors or [fault(f"/parameters/{name}", error.detail)]
    if faults:
        raise InvalidInput("The artifacts that were given are not there; nothing was started.", errors=faults)
    return parameters | {name: f"{FROZEN}{one.id}" for name, one in given.items()}, given


def _meant(rs: ReadSession, reference: str) -> tuple[Template, TemplateVersion, Snapshot]:
    template, version = templates.meant(rs, reference)
    return template, version, snapshots.get(rs, version.snapshot_id)


def _resolved(rs: ReadSession, target: Target) -> _Meant:
    if len(target.named) != 1:
        mistakes = [fault(f"/{name}", "Give exactly one of the three.") for name in target.named or ["template"]]
        raise InvalidInput("Say what to run: a template, a snapshot or a pipeline.", errors=mistakes)
    template = version = None
    if target.template is not None:
        template, version, snapshot = rs.recalled(TEMPLATES, target.template, partial(_meant, rs, target.template))
    elif target.snapshot is not None:
        snapshot = snapshots.get(rs, target.snapshot)
    else:
        snapshot = snapshots.latest_runnable(rs, str(target.pipeline))
    run = Run(
        id="",
        name="",
        state=RunState.QUEUED,
        pipeline_id=snapshot.pipeline_id,
        pipeline_name=snapshot.content.pipeline,
        snapshot_id=snapshot.id,
        template_id=template.id if template else None,
        template_name=template.name if template else None,
        template_version=version.version if version else None,
        created=now(),
    )
    if template is None:
        return _Meant(snapshot, None, run)
    return _Meant(snapshot, template.terms, run, template.revision)
