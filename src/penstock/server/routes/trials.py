"""Trials of deployments over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response
from pydantic import Field

from penstock.control import snapshots, trials
from penstock.errors import Forbidden, InvalidInput, fault
from penstock.model.deployment import Deployment
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.likeness import Comparing
from penstock.model.trial import Kind, Rule, Trial, TrialOrders, TrialReport, TrialWord
from penstock.server.access import Here, Reader, Worker, Writer
from penstock.server.bodies import Strict, answer, record
from penstock.server.noun import Noun

router = Noun("/deployments", "deployments")


class StartTrial(Strict):
    """What is to be tried beside a deployment. Give a snapshot, or a pipeline for its latest one."""

    kind: Kind = Field(
        description="`mirror`: copies of requests are compared; `canary`: the candidate answers its share."
    )
    snapshot: str | None = Field(default=None, description="Id or name of a snapshot.")
    pipeline: str | None = Field(default=None, description="Id or name of a pipeline.")
    share: float = Field(default=0.1, ge=0, le=1, description="Of the requests.")
    settings: DeploymentSettings | None = None
    rule: Rule | None = Field(default=None, description="When a canary is rolled back by itself.")
    comparing: Comparing | None = Field(default=None, description="What counts as a difference for a mirror.")


class ChangeTrial(Strict):
    """Another share of the requests."""

    share: float = Field(ge=0, le=1)


@router.post("/{reference}/trial", response_model=Trial, status_code=201)
def start_trial(here: Here, _: Writer, reference: str, wanted: StartTrial) -> Response:
    """Bring up a candidate beside a deployment, and have it answer, or be shown, a share of its requests."""
    if (wanted.snapshot is None) == (wanted.pipeline is None):
        mistakes = [fault(f"/{name}", "Give exactly one of the two.") for name in ("snapshot", "pipeline")]
        raise InvalidInput("Say what to try: a snapshot or a pipeline.", errors=mistakes)
    with here.db.write() as session:
        if wanted.snapshot is not None:
            snapshot = snapshots.get(session, wanted.snapshot)
        else:
            snapshot = snapshots.latest_runnable(session, str(wanted.pipeline))
        attempt = trials.Attempt(
            kind=wanted.kind,
            snapshot=snapshot,
            share=wanted.share,
            settings=wanted.settings,
            rule=wanted.rule,
            comparing=wanted.comparing,
        )
        return answer(trials.start(session, here, reference, attempt), 201)


@router.get("/{reference}/trial", response_model=TrialReport)
def get_trial(here: Here, _: Reader, reference: str) -> Response:
    """The trial that goes on, or else the last one, with what came of it."""
    with here.db.read() as session:
        return answer(trials.get(session, reference))


@router.get("/{reference}/trials", response_model=list[Trial])
def list_trials(here: Here, _: Reader, reference: str) -> Response:
    """What was tried beside it, and how that ended, newest first; at most a hundred."""
    with here.db.read() as session:
        return answer(trials.history(session, reference))


@router.patch("/{reference}/trial", response_model=Trial)
def change_trial(here: Here, _: Writer, reference: str, wanted: ChangeTrial) -> Response:
    """Send another share of the requests to the candidate."""
    with here.db.write() as session:
        return answer(trials.set_share(session, reference, wanted.share))


@router.post("/{reference}/trial/promote", response_model=Deployment)
def promote_trial(here: Here, _: Writer, reference: str) -> Response:
    """Make the candidate the deployment's next revision; its companion goes when that serves."""
    with here.db.write() as session:
        return answer(trials.promote(session, here, reference))


@router.post("/{reference}/trial/abort", response_model=Trial)
def abort_trial(here: Here, _: Writer, reference: str) -> Response:
    """End the trial: what served before answers everything, and the companion goes."""
    with here.db.write() as session:
        return answer(trials.abort(session, here, reference))


@router.post("/{reference}/trial/words", response_model=TrialOrders)
def report_trial(here: Here, caller: Worker, reference: str, word: Annotated[TrialWord, record(TrialWord)]) -> Response:
    """What a process of the deployment has seen of its trial, told by itself; the answer is what it is to do."""
    if caller.kind != "owner" and caller.deployment_id != reference:
        raise Forbidden("A service reports for its own deployment only.")
    if word.part is None:
        with here.db.read() as session:
            return answer(trials.orders(session, here, reference, word))
    with here.db.write() as session:
        return answer(trials.hear(session, here, reference, word))
