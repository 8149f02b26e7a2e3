"""Why a run is as it is: the facts for the answer, all of one moment."""

from __future__ import annotations

from penstock.control.installation import Installation, now
from penstock.model.run import RunState
from penstock.model.why import Facts, Why
from penstock.model.why import why as answer
from penstock.store import limits, runs
from penstock.store.session import ReadSession

_TOLD = 5


def why(rs: ReadSession, installation: Installation, reference: str) -> Why:
    """What the run waits for, who holds it and since when; of one that has ended, why it ended so. Raises `NotFound`."""
    run = runs.get(rs, reference)
    steps = runs.steps(rs, run.id)
    if run.state is not RunState.QUEUED:
        return answer(Facts(run=run, steps=steps))
    place = limits.place_of(rs, run.id)
    return answer(
        Facts(
            run=run,
            limit=place.limit,
            ready=place.ready,
            now=now(),
            alike=tuple(limits.holders(rs, place.lane, _TOLD)),
            alike_active=limits.count_active(rs, place.lane),
            before=limits.count_before(rs, place, run.id),
            slots=installation.settings.runs_at_once,
            active=runs.count_active(rs),
            holders=tuple(limits.all_holders(rs, _TOLD)),
        )
    )
