"""Trials: what a deployment may serve next, tried on copies or on a share of its requests, and what comes of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from penstock.control import audit, companions, snapshots
from penstock.control import deployments as control
from penstock.control.installation import Installation, now
from penstock.errors import Conflict, InvalidInput, NotFound, fault
from penstock.ids import new_id
from penstock.model.deployment import Deployment, DeploymentState
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.likeness import Comparing
from penstock.model.snapshot import Snapshot
from penstock.model.trial import (
    ENDED,
    Kind,
    Rule,
    Trial,
    TrialOrder,
    TrialOrders,
    TrialReport,
    TrialState,
    TrialWord,
    check_share,
    report,
    verdict,
    with_part,
)
from penstock.store import deployments, trials
from penstock.store.session import ReadSession, WriteSession

FOREVER = 3600.0
"""Seconds for which an answer of a candidate is waited for whose settings set no time."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What is to be tried, and how."""

    kind: Kind
    snapshot: Snapshot
    share: float
    settings: DeploymentSettings | None = None
    rule: Rule | None = None
    comparing: Comparing | None = None


def start(ws: WriteSession, installation: Installation, reference: str, attempt: Attempt) -> Trial:
    """Begin a trial. Nothing is sent to the candidate before it is up; what serves is not touched.

    Raises `Conflict` if a trial goes on, if the deployment is not meant to run, or for a snapshot that cannot be served.
    """
    known, at = control.live(ws, reference), now()
    if known.wanted != "running":
        raise Conflict(f"Deployment '{known.name}' is taken down: nobody asks it anything that could be tried.")
    snapshot = control.check_servable(attempt.snapshot)
    _check_kind(attempt)
    trial = Trial(
        id=new_id(),
        deployment_id=known.id,
        kind=attempt.kind,
        snapshot_id=snapshot.id,
        settings=control.settings_for(known, snapshot, attempt.settings),
        share=check_share(attempt.share),
        revision=known.revision,
        rule=(attempt.rule or Rule()) if attempt.kind == "canary" else None,
        comparing=(attempt.comparing or Comparing()) if attempt.kind == "mirror" else None,
        companion_id=new_id(),
        created=at,
        updated=at,
    )
    trials.insert(ws, trial)
    companion = companions.made(known, trial, (snapshot.pipeline_id, snapshot.content.pipeline), at)
    deployments.insert(ws, companion)
    control.tell(ws, installation)
    return _shown(ws, trial)


def _check_kind(attempt: Attempt) -> None:
    """Nothing that is said is to be without effect."""
    foreign = {"mirror": ("rule", attempt.rule), "canary": ("comparing", attempt.comparing)}
    name, given = foreign[attempt.kind]
    if given is not None:
        mistake = fault(f"/{name}", f"A {attempt.kind} has none.")
        raise InvalidInput(f"'{name}' says nothing of a {attempt.kind}.", errors=[mistake])


def get(rs: ReadSession, reference: str) -> TrialReport:
    """The trial that goes on, or else the last one, with what came of it. Raises `NotFound` if there never was one."""
    known = deployments.get(rs, reference)
    found = trials.newest(rs, known.id, 1)
    if not found:
        raise NotFound(f"Nothing has been tried beside deployment '{known.name}'.")
    return report(_shown(rs, found[0]), trials.figures(rs, found[0].id))


def history(rs: ReadSession, reference: str) -> list[Trial]:
    """The trials of a deployment, newest first; at most a hundred."""
    return [_shown(rs, one) for one in trials.newest(rs, deployments.get(rs, reference).id)]


def _shown(rs: ReadSession, trial: Trial) -> Trial:
    """The trial as it stands with its candidate."""
    if trial.state in ENDED:
        return trial
    if trial.state is TrialState.PROMOTING:
        first = deployments.get(rs, trial.deployment_id)
        return replace(trial, reason=first.reason)
    companion = deployments.get(rs, trial.companion_id)
    if companion.state is DeploymentState.RUNNING:
        return trial
    failed = companion.state is DeploymentState.ERROR
    return replace(trial, state=TrialState.ERROR if failed else TrialState.STARTING, reason=companion.reason)


def set_share(ws: WriteSession, reference: str, share: float) -> Trial:
    """Send another share of the requests to the candidate from now on; 0: none, until another one is said."""
    trial = _going(ws, control.live(ws, reference))
    if trial.state is TrialState.PROMOTING:
        raise Conflict("The candidate is being promoted: its share is decided.")
    changed = replace(trial, share=check_share(share), updated=now())
    trials.save(ws, changed)
    return _shown(ws, changed)


def promote(ws: WriteSession, installation: Installation, reference: str) -> Deployment:
    """Make the candidate the next revision of its deployment. A canary keeps its share until that serves.

    Raises `Conflict` if the candidate is not up: then nothing is known of it that speaks for it.
    """
    known = control.live(ws, reference)
    trial = _going(ws, known)
    if trial.state is TrialState.PROMOTING:
        return known
    shown = _shown(ws, trial)
    if shown.state is not TrialState.RUNNING:
        why = f": {shown.reason}" if shown.reason else "."
        raise Conflict(f"The candidate is not up{why} Abort the trial, or wait for it.")
    snapshot = snapshots.get(ws, trial.snapshot_id)
    changed = control.serving(known, snapshot, trial.settings)
    if changed == known:
        companions.end(ws, trial, TrialState.PROMOTED, "It is what was served already.")
    else:
        known = control.next_revision(ws, changed, now(), f"Promoted after a trial ({trial.kind}).")
        promoted = replace(trial, state=TrialState.PROMOTING, promoted_to=known.revision, updated=now())
        trials.save(ws, promoted)
    control.tell(ws, installation)
    return known


def abort(ws: WriteSession, installation: Installation, reference: str) -> Trial:
    """End a trial: everything is answered by what served before. Raises `Conflict` for a candidate that is being promoted."""
    trial = _going(ws, control.live(ws, reference))
    if trial.state is TrialState.PROMOTING:
        raise Conflict("The candidate is being promoted: it is the next revision. Roll the deployment back instead.")
    ended = companions.end(ws, trial, TrialState.ABORTED, None)
    control.tell(ws, installation)
    return ended


def settle(installation: Installation) -> None:
    """End the trials whose candidates serve as revisions of their deployments."""
    with installation.db.read() as session:
        waiting = [one for one in trials.promoting(session) if _serves(session, one)]
    for one in waiting:
        with installation.db.write() as session:
            serves = _serves(session, one)  # holds the deployment first, as whoever changes it does
            trial = trials.going(session, one.deployment_id)
            if serves and trial is not None and trial.id == one.id:
                companions.end(session, trial, TrialState.PROMOTED, None)
                control.tell(session, installation)


def _serves(rs: ReadSession, trial: Trial) -> bool:
    first = deployments.get(rs, trial.deployment_id)
    return first.state is DeploymentState.RUNNING and first.revision == trial.promoted_to


def _going(ws: WriteSession, known: Deployment) -> Trial:
    found = trials.going(ws, known.id)
    if found is None:
        raise Conflict(f"No trial of deployment '{known.name}' goes on.")
    return found


# What its processes tell, and what they are told


def hear(ws: WriteSession, installation: Installation, reference: str, word: TrialWord) -> TrialOrders:
    """Take in what a process tells, and decide; what it tells again changes nothing."""
    trial = trials.going(ws, reference)
    if trial is not None and trial.id == word.trial_id and word.part is not None:
        at = time.time()
        figures = with_part(
            trials.figures(ws, trial.id), word.process, word.number, word.part, at=at, window=trial.window
        )
        trials.save_figures(ws, trial.id, figures)
        reason = word.stopped
        if trial.rule is not None:
            reason = reason or verdict(trial.rule, figures.total.slices)
        if reason is not None and trial.state is TrialState.RUNNING:
            audit.decided("roll_back_trial")
            companions.end(ws, trial, TrialState.ROLLED_BACK, reason)
            control.tell(ws, installation)
    return orders(ws, installation, reference, word)


def orders(rs: ReadSession, installation: Installation, reference: str, word: TrialWord) -> TrialOrders:
    """What a process is to do that serves this revision."""
    trial = trials.going(rs, reference)
    if trial is None or trial.revision != word.revision:
        return TrialOrders()
    if trial.kind == "mirror" and trial.state is TrialState.PROMOTING:
        return TrialOrders()
    companion = deployments.get(rs, trial.companion_id)
    url = companion.inner_url or companion.url
    if url is None:
        return TrialOrders()
    said = companion.settings
    return TrialOrders(
        order=TrialOrder(
            trial_id=trial.id,
            kind=trial.kind,
            share=trial.share,
            snapshot_id=trial.snapshot_id,
            url=url,
            path=said.path("invoke"),
            ready_path=f"{said.root_url_path}{said.api_url_path}/ready",
            key=companions.key(installation, companion.id),
            timeout=said.timeout or FOREVER,
            rule=trial.rule,
            comparing=trial.comparing,
        )
    )
