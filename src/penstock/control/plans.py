"""Plans: what a trigger would do, told before anything is started, and a token that holds it to that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from statistics import median

from penstock.control import cache
from penstock.control.installation import Installation, now
from penstock.control.targets import Prepared, Target, prepare
from penstock.errors import PlanChanged
from penstock.model.cache import Found, Lookup, digest
from penstock.model.configuration import PipelineRunConfiguration, said
from penstock.model.cost import Price
from penstock.model.plan import Known, Place, Plan, PlannedStep, planned
from penstock.model.run import RunState, StepRun, StepState
from penstock.model.terms import Terms
from penstock.store import artifacts, runs
from penstock.store.paging import Window
from penstock.store.runs import RunFilter
from penstock.store.session import ReadSession

SAMPLES = 10
"""What runs and steps take is drawn from so many completed runs, the latest ones."""


def plan(
    rs: ReadSession,
    installation: Installation,
    target: Target,
    configuration: PipelineRunConfiguration,
    *,
    within: frozenset[str] | None = None,
) -> Plan:
    """What a trigger with these would do now. Raises what the trigger would raise."""
    prepared = prepare(rs, target, configuration, within=within)
    steps = _steps(rs, prepared)
    took, step_took = _history(rs, prepared)
    seconds = median(took) if took else None
    return Plan(
        template=prepared.origin.template_name,
        version=prepared.origin.template_version,
        snapshot_id=prepared.snapshot.id,
        parameters=prepared.effective.parameters,
        step_parameters=prepared.effective.step_parameters,
        origins=prepared.effective.origins,
        steps=tuple(replace(one, seconds=step_took.get(one.step)) for one in steps),
        dynamic=prepared.snapshot.content.graph.dynamic,
        place=Place(
            ahead=runs.count_queued(rs),
            running=runs.count_active(rs),
            slots=installation.settings.runs_at_once,
        ),
        requires=prepared.snapshot.content.environment.requires,
        seconds=seconds,
        samples=len(took),
        cost=price(installation, prepared.terms).of(seconds),
        token=_token(prepared, steps),
    )


def price(installation: Installation, terms: Terms | None) -> Price:
    """What an hour of a run under these terms costs."""
    settings = installation.settings
    own = terms.price_per_hour if terms is not None else None
    return Price(per_hour=settings.price_per_hour if own is None else own, currency=settings.currency)


def check(rs: ReadSession, prepared: Prepared, token: str) -> None:
    """Hold a trigger to its plan. Raises `PlanChanged` if the plan would be another one now."""
    if token != _token(prepared, _steps(rs, prepared)):
        raise PlanChanged(
            "Something has changed since this was planned: the version that the name means, its terms, a default, or what "
            "the cache has. Nothing was started; plan again."
        )


def _token(prepared: Prepared, steps: list[PlannedStep]) -> str:
    """A digest of everything that decides what the run will do; not of the queue, which always moves."""
    effective = prepared.effective
    verdicts = [[one.step, one.verdict, one.from_run] for one in steps]
    values = [effective.parameters, effective.step_parameters, effective.origins, said(effective.configuration)]
    return f"plan_{digest([prepared.snapshot.id, values, verdicts])[:40]}"


def _steps(rs: ReadSession, prepared: Prepared) -> list[PlannedStep]:
    def ask(step: str, key: str, oldest: float | None) -> Found:
        not_before = None if oldest is None else now() - timedelta(seconds=oldest)
        wanted = Lookup(pipeline_id=prepared.snapshot.pipeline_id, step=step, key=key, not_before=not_before)
        return cache.look_up(rs, wanted)

    known = Known(ask, lambda identity: artifacts.get(rs, identity))
    return planned(prepared.snapshot.content, prepared.effective, known)


def _history(rs: ReadSession, prepared: Prepared) -> tuple[list[float], dict[str, float]]:
    """What the latest completed runs of this pipeline took in seconds, and what their steps took that were carried out."""
    wanted = RunFilter(states=(RunState.COMPLETED,), pipeline=prepared.snapshot.pipeline_id)
    completed = runs.page(rs, Window(size=SAMPLES), wanted).items
    steps: dict[str, list[float]] = {}
    for run in completed:
        for one in runs.steps(rs, run.id).values():
            seconds = _seconds(one)
            if seconds is not None:
                steps.setdefault(one.step, []).append(seconds)
    took = [(run.ended - run.started).total_seconds() for run in completed if run.started and run.ended]
    return took, {step: median(seconds) for step, seconds in steps.items()}


def _seconds(one: StepRun) -> float | None:
    if one.state is not StepState.COMPLETED or one.started is None or one.ended is None:
        return None
    return (one.ended - one.started).total_seconds()
