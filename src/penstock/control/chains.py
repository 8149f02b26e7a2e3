"""Chains: runs that steps of other runs have started, which must not go round in circles, nor go on without their parents."""

from __future__ import annotations

from penstock.errors import Conflict
from penstock.model.run import Run, RunState
from penstock.store import runs
from penstock.store.session import ReadSession

DEEPEST = 50
"""So many runs may stand over each other. Whoever needs more wants a loop inside one run."""


def check(rs: ReadSession, run: Run) -> None:
    """Hold a run that a step wants to start against the runs over it.

    Raises `Conflict` if its parent is being cancelled, if one over it is the same pipeline with the same values (which would
    start it again, and so on), or if there are too many.
    """
    over, above = run.cause.parent_run_id, 0
    while over is not None:
        ancestor = runs.find(rs, over)
        if ancestor is None:  # deleted meanwhile: what was over it is not known any more
            return
        above += 1
        if above == 1 and ancestor.state in (RunState.CANCELLING, RunState.CANCELLED):
            raise Conflict(f"Run {ancestor.name}, whose step wants to start this one, is {ancestor.state}.")
        values = (ancestor.pipeline_id, ancestor.parameters, ancestor.step_parameters)
        if values == (run.pipeline_id, run.parameters, run.step_parameters):
            raise Conflict(
                f"This would go round in circles: run {ancestor.name}, {above} above this one, is of pipeline "
                f"'{run.pipeline_name}' with the same values."
            )
        if above >= DEEPEST:
            raise Conflict(f"{DEEPEST} runs stand over this one already, each started by a step of the one above it.")
        over = ancestor.cause.parent_run_id
