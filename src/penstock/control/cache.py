"""Earlier results of steps, for runs that ask before they carry a step out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.model.artifact import Artifact
from penstock.model.cache import Earlier, Found, Lookup, Taken, Taking
from penstock.model.run import StepRun, StepState
from penstock.store import artifacts, runs
from penstock.store.session import ReadSession

FOLLOWING = 250
"""Of the run that has what was looked for, so many further results are told at once."""


def look_up(rs: ReadSession, wanted: Lookup) -> Found:
    """Earlier results of a step under a key, or else what its last run hung on. Results whose artifacts are gone are none."""
    known = runs.earlier(rs, wanted.key)
    fresh = [one for one in known if wanted.not_before is None or (one.ended or one.created) >= wanted.not_before]
    for one in fresh:
        hit = _earlier_results(rs, [one]).get(wanted.key)
        if hit is not None:
            return Found(hit=hit, following=_earlier_results(rs, runs.remembered_after(rs, one, FOLLOWING)))
    latest = runs.latest_remembered(rs, wanted.pipeline_id, wanted.step)
    before = _results_of(latest, runs.get(rs, latest.run_id).name, {}) if latest is not None else None
    return Found(latest=before, expired=bool(known) and not fresh)


def take(rs: ReadSession, wanted: Taking) -> Taken:
    """What one invocation of a run made, for a run that takes over its results. Raises `NotFound` for an unknown run."""
    run = runs.get(rs, wanted.run_id)
    step = runs.steps(rs, run.id, named={wanted.step}).get(wanted.step)
    if step is None or step.state not in (StepState.COMPLETED, StepState.CACHED):
        return Taken()
    made = artifacts.get_many(rs, step.outputs.values())
    return Taken(earlier=_results_of(step, run.name, made) if made.keys() >= set(step.outputs.values()) else None)


def _earlier_results(rs: ReadSession, steps: Sequence[StepRun]) -> dict[str, Earlier]:
    """What these step runs, of one run, made, by key; those whose artifacts are not all there are left out."""
    made = artifacts.get_many(rs, (artifact_id for step in steps for artifact_id in step.outputs.values()))
    name = runs.get(rs, steps[0].run_id).name if steps else ""
    whole = [step for step in steps if made.keys() >= set(step.outputs.values())]
    return {step.cache.key: _results_of(step, name, made) for step in whole if step.cache and step.cache.key}


def _results_of(step: StepRun, run_name: str, made: Mapping[str, Artifact]) -> Earlier:
    return Earlier(
        run_id=step.run_id,
        run_name=run_name,
        step=step.step,
        parts=step.cache.parts if step.cache else {},
        outputs={output: made[one] for output, one in step.outputs.items() if one in made},
        ended=step.ended or step.created,
        parameters=step.parameters,
        inputs=step.inputs,
    )
