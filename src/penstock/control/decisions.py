"""Decisions: what became of each attempt to start a run, also where nothing was started."""

from __future__ import annotations

import logging

from penstock.control import audit
from penstock.control.installation import Installation, now
from penstock.control.targets import Target
from penstock.errors import PenstockError, StorageFull, Unavailable
from penstock.ids import new_id
from penstock.model.decision import Decision, Verdict
from penstock.model.run import Cause, Run
from penstock.store import decisions
from penstock.store.session import WriteSession

log = logging.getLogger("penstock.decisions")

_LONGEST = 500
"""Letters of what a request said of itself that are kept."""


def taken(ws: WriteSession, target: Target, run: Run, cause: Cause, verdict: Verdict, key: str | None) -> None:
    """Note, in the transaction that starts a run or finds it, what became of the attempt."""
    status = 200 if run.state.terminal else 202
    decisions.insert(ws, _made(target, cause, verdict, status, key, run=run))
    audit.started(ws, cause, run.id, status)


def refused(installation: Installation, target: Target, cause: Cause, error: PenstockError, key: str | None) -> None:
    """Note that an attempt was refused, when its transaction has been given up. Failing that, the refusal stands all the same.

    One that was refused because the store is away or full is in the log only: to wait for the store once more would hold up
    its answer, and those who read.
    """
    if isinstance(error, Unavailable | StorageFull):
        log.warning("a refused trigger of %s is not on record: %s", target, error.detail)
        return
    try:
        with installation.db.write() as session:
            decisions.insert(session, _made(target, cause, Verdict.REFUSED, error.status, key, error=error))
            audit.not_started(session, cause, _words(target), error)
    except PenstockError as trouble:  # the store is away or full
        log.warning("a refused trigger of %s is not on record: %s", target, trouble.detail)


def _made(
    target: Target,
    cause: Cause,
    verdict: Verdict,
    status: int,
    key: str | None,
    *,
    run: Run | None = None,
    error: PenstockError | None = None,
) -> Decision:
    named = target.template.partition("@")[0] if target.template is not None else None
    return Decision(
        id=new_id(),
        at=now(),
        verdict=verdict,
        target=_words(target)[:_LONGEST],
        template=run.template_name if run else named and named[:_LONGEST],
        run_id=run.id if run else None,
        run_name=run.name if run else None,
        kind=cause.kind,
        account=cause.account,
        key_id=cause.key_id,
        idempotency_key=key,
        status=status,
        problem=error.slug if error else None,
        detail=error.detail[:_LONGEST] if error else None,
        pointers=tuple(str(one["pointer"]) for one in error.errors) if error else (),
    )


def _words(target: Target) -> str:
    named = (("template", target.template), ("snapshot", target.snapshot), ("pipeline", target.pipeline))
    told = [f"{kind} {name}" for kind, name in named if name is not None]
    like = [f"run {target.like}"] if target.like is not None else []
    return ", ".join([*told, *like]) or "nothing"
