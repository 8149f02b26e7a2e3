"""Companions: deployments that serve the candidate of a trial, beside the deployment that is asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from penstock.control.installation import Installation, now
from penstock.errors import Conflict, NotFound
from penstock.ids import digest_of
from penstock.model.deployment import Deployment, KeyDigest
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.run import Cause
from penstock.model.trial import Seat, Trial, TrialState
from penstock.store import deployments, trials
from penstock.store.session import ReadSession, WriteSession

_SERVED = ("INVOKE", "HEALTH", "METRICS")
_NAME_KEPT = 100
"""Letters of the name of a deployment that are in the name of its companion."""


def made(known: Deployment, trial: Trial, pipeline: tuple[str, str], at: datetime) -> Deployment:
    """The companion that serves the candidate of this trial: where the deployment is, and for it alone."""
    settings = replace(
        trial.settings,
        auth="keys",
        include_default_endpoints=_SERVED,
        custom_endpoints=(),
        dashboard_files_path=None,
        uvicorn_host=DeploymentSettings().uvicorn_host,
    )
    return Deployment(
        id=trial.companion_id,
        name=f"{known.name[:_NAME_KEPT].rstrip('. _+-')}-trial-{trial.id[-12:]}",
        pipeline_id=pipeline[0],
        pipeline_name=pipeline[1],
        snapshot_id=trial.snapshot_id,
        deployer=known.deployer,
        settings=settings,
        auth=True,
        tags=known.tags,
        companion_of=known.id,
        created=at,
        updated=at,
    )


def key(installation: Installation, companion_id: str) -> str:
    """What opens a companion. It is worked out, not kept: the deployment is told it with its order, and nobody else."""
    return installation.signer.mark(f"companion {companion_id}")


def digests(installation: Installation, companion_id: str) -> tuple[KeyDigest, ...]:
    """The same as the companion needs it."""
    return (KeyDigest(name="trial", digest=digest_of(key(installation, companion_id).encode())),)


def seat(rs: ReadSession, companion: Deployment) -> Seat:
    """For whom a companion answers. Raises `NotFound` if that is gone."""
    trial = trials.of_companion(rs, companion.id)
    name = deployments.name_of(rs, trial.deployment_id)
    return Seat(deployment_id=trial.deployment_id, deployment_name=name, kind=trial.kind)


def cause(known: Deployment, taken: Seat | None, mirror_of: str | None) -> Cause:
    """What has caused a run that this deployment tells of. What a companion answers its deployment has answered, except copies."""
    if taken is None:
        return Cause(kind="deployment", account=known.name, deployment=known.name, deployment_id=known.id)
    return Cause(
        kind="deployment",
        account=taken.deployment_name,
        deployment=taken.deployment_name,
        deployment_id=known.id if taken.kind == "mirror" else taken.deployment_id,
        mirror_of=mirror_of,
    )


def seat_if_any(rs: ReadSession, known: Deployment) -> Seat | None:
    """The same for any deployment, as far as it is known."""
    if known.companion_of is None:
        return None
    try:
        return seat(rs, known)
    except NotFound:  # the deployment was removed while its companion told its last runs
        return None


def check_own(known: Deployment) -> Deployment:
    """The deployment, unless it is a companion. Raises `Conflict` for one."""
    if known.companion_of is not None:
        raise Conflict(
            f"'{known.name}' serves the candidate of a trial, and changes with it: promote or abort the trial."
        )
    return known


def supersede(ws: WriteSession, deployment_id: str, reason: str) -> None:
    """End the trial of a deployment that is about to change, if one goes on."""
    going = trials.going(ws, deployment_id)
    if going is not None:
        end(ws, going, TrialState.SUPERSEDED, reason)


def end(ws: WriteSession, trial: Trial, state: TrialState, reason: str | None) -> Trial:
    """End a trial: nothing is sent to its candidate any more, and its companion is taken down. The caller rings."""
    at = now()
    ended = replace(trial, state=state, reason=reason, share=0.0, updated=at, ended=at)
    trials.save(ws, ended)
    try:
        companion = deployments.get(ws, trial.companion_id)
    except NotFound:
        return ended
    deployments.save(ws, replace(companion, wanted="deleted", updated=at))
    return ended
