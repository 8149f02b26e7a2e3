"""Deployments: what is to be served, under which keys, and the record of what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from penstock.control import companions, snapshots
from penstock.control.installation import Installation, now
from penstock.control.stacks import shared_secrets
from penstock.errors import Conflict, InvalidInput, NotFound, Unauthenticated, fault
from penstock.ids import check_name, digest_of, new_id
from penstock.model.account import Permission, Principal, new_key_text
from penstock.model.artifact import Use
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.deployment import (
    Admission,
    Deployment,
    DeploymentKey,
    DeploymentState,
    NewDeployment,
    NewDeploymentKey,
    Plan,
    Revision,
    ServedRun,
    TakenIn,
)
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.run import Cause, Progress, Run, RunState, StepRun, fold
from penstock.model.snapshot import Snapshot
from penstock.model.stack import Component
from penstock.stack.registry import same_place
from penstock.store import artifacts, deployments, events, logs, runs, stacks, templates
from penstock.store.session import ReadSession, WriteSession

CHANGED = "deployments"
"""The bell that rings when a deployment is to be seen to."""

TOKEN_LIFETIME = 10 * 365 * 24 * 3600.0
"""Seconds for which the token of a service is valid; it is refused as soon as the deployment is deleted."""

_NOTHING_SAID = PipelineRunConfiguration()
FIRST_KEY = "default"
KEY_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be served, and how. What is None stays as it is, or is as the pipeline says."""

    name: str
    snapshot: Snapshot
    settings: DeploymentSettings | None = None
    deployer: Component | None = None
    tags: tuple[str, ...] = ()
    update: bool = False
    """Whether a deployment of this name may be there already."""

    generate_auth_key: bool = False
    auth_key: str | None = None


def deploy(ws: WriteSession, installation: Installation, wish: Wish) -> NewDeployment:
    """Make a deployment, or give one its next revision. Who is to see to it is told when this is committed.

    The same snapshot and settings once more change nothing. Raises `Conflict` if there is one of this name and no update is
    meant, or for a snapshot without code.
    """
    check_name(wish.name, what="deployment")
    content = check_servable(wish.snapshot).content
    known, at = deployments.find(ws, wish.name), now()
    if known is None or known.wanted == "deleted":
        if known is not None:
            raise Conflict(f"Deployment '{wish.name}' is being deleted. Try again when it is gone.")
        made = Deployment(
            id=new_id(),
            name=wish.name,
            pipeline_id=wish.snapshot.pipeline_id,
            pipeline_name=content.pipeline,
            snapshot_id=wish.snapshot.id,
            deployer=wish.deployer
            or stacks.get(ws, content.stack).components.get("deployer")
            or Component(flavor="local"),
            settings=wish.settings or own_settings(wish.snapshot),
            tags=tuple(check_name(tag, what="tag", at="/tags") for tag in dict.fromkeys(wish.tags)),
            created=at,
            updated=at,
        )
        deployments.insert(ws, made)
        _add_revision(ws, made, at)
    else:
        made = _updated(ws, companions.check_own(known), wish, at)
    key = _first_key(ws, made, wish, at)
    if key is not None and not made.auth:
        made = _anew(replace(made, auth=True), at)
        deployments.save(ws, made)
    tell(ws, installation)
    return NewDeployment(deployment=made, key=key)


def check_servable(snapshot: Snapshot) -> Snapshot:
    """The snapshot, if it can be served. Raises `Conflict`."""
    if not snapshot.runnable:
        raise Conflict(f"This snapshot cannot be served: {snapshot.content.code_note or 'its code was not archived'}.")
    return snapshot


def own_settings(snapshot: Snapshot) -> DeploymentSettings:
    """What a snapshot says of its deployments."""
    content = snapshot.content
    return content.given.settings.deployment or content.configuration.settings.deployment or DeploymentSettings()


def settings_for(known: Deployment, snapshot: Snapshot, given: DeploymentSettings | None) -> DeploymentSettings:
    """The settings with which a deployment serves a snapshot: those that are given; or those that it has, for what it serves."""
    return given or (known.settings if snapshot.id == known.snapshot_id else own_settings(snapshot))


def serving(known: Deployment, snapshot: Snapshot, settings: DeploymentSettings) -> Deployment:
    """The deployment as it serves this."""
    return replace(
        known,
        pipeline_id=snapshot.pipeline_id,
        pipeline_name=snapshot.content.pipeline,
        snapshot_id=snapshot.id,
        settings=settings,
        wanted="running",
    )


def _updated(ws: WriteSession, known: Deployment, wish: Wish, at: datetime) -> Deployment:
    if not wish.update:
        raise Conflict(
            f"There is already a deployment named '{known.name}'. Say that you mean to update it (--update)."
        )
    deployer = _deployer(known, wish.deployer)
    settings = settings_for(known, wish.snapshot, wish.settings)
    tags = tuple(dict.fromkeys((*known.tags, *(check_name(tag, what="tag", at="/tags") for tag in wish.tags))))
    changed = replace(serving(known, wish.snapshot, settings), tags=tags, deployer=deployer)
    if changed == known:
        if known.state is DeploymentState.ERROR:
            known = _anew(known, at)
            deployments.save(ws, known)
        return known
    companions.supersede(ws, known.id, "The deployment was updated.")
    return next_revision(ws, changed, at)


def _deployer(known: Deployment, said: Component | None) -> Component:
    """The deployer of an update: the same, with other options if there are any, unless these say where it is."""
    if said is None or said == Component(flavor=known.deployer.flavor):
        return known.deployer
    if not same_place("deployer", known.deployer, said):
        mistake = fault("/deployer", "A deployment stays where it is. Delete it, or give another name.")
        raise InvalidInput("The deployer of a deployment cannot be changed.", errors=[mistake])
    return said


def _anew(known: Deployment, at: datetime) -> Deployment:
    """The same, to be applied once more; what kept it from coming up may be gone."""
    return replace(known, state=DeploymentState.PENDING, reason=None, updated=at)


def next_revision(ws: WriteSession, changed: Deployment, at: datetime, note: str | None = None) -> Deployment:
    """The deployment under its next revision number."""
    number = deployments.last_revision(ws, changed.id) + 1
    changed = _anew(replace(changed, revision=number), at)
    deployments.save(ws, changed)
    _add_revision(ws, changed, at, note)
    return changed


def roll_back(
    ws: WriteSession, installation: Installation, reference: str, *, to: int | None = None, why: str | None = None
) -> Deployment:
    """Serve again what was served before: under the number `to`, or under the last one that was something else."""
    known = live(ws, reference)
    if to is None:
        earlier = [one for one in deployments.revisions(ws, known.id) if one.number < known.revision]
        other = [one for one in earlier if (one.snapshot_id, one.settings) != (known.snapshot_id, known.settings)]
        if not other:
            raise Conflict(f"Deployment '{known.name}' has served nothing else before.")
        to = other[0].number
    past = deployments.revision(ws, known.id, to)
    changed = serving(known, snapshots.get(ws, past.snapshot_id), past.settings)
    told = f"Back to revision {to}." + (f" {why}" if why else "")
    companions.supersede(ws, known.id, "The deployment was rolled back.")
    made = next_revision(ws, changed, now(), told)
    tell(ws, installation)
    return made


def provision(ws: WriteSession, installation: Installation, reference: str) -> Deployment:
    """Have it run, if it does not."""
    return _want(ws, installation, live(ws, reference), running=True)


def deprovision(ws: WriteSession, installation: Installation, reference: str) -> Deployment:
    """Take it down; its record stays, and so do its keys."""
    return _want(ws, installation, live(ws, reference), running=False)


def _want(ws: WriteSession, installation: Installation, known: Deployment, *, running: bool) -> Deployment:
    wanted = replace(known, wanted="running" if running else "absent", updated=now())
    if wanted.wanted == known.wanted:
        return known
    if not running:
        companions.supersede(ws, known.id, "The deployment was taken down.")
    wanted = replace(wanted, state=DeploymentState.PENDING, reason=None)
    deployments.save(ws, wanted)
    tell(ws, installation)
    return wanted


def delete(ws: WriteSession, installation: Installation, reference: str, *, force: bool = False) -> None:
    """Take it down and remove its record; with `force` the record is removed now, whatever its deployer makes of it."""
    known = companions.check_own(deployments.get(ws, reference))
    companions.supersede(ws, known.id, "The deployment was deleted.")
    deployments.save(ws, replace(known, wanted="deleted", updated=now()))
    if force:
        deployments.remove(ws, known.id)
    tell(ws, installation)


def live(ws: WriteSession, reference: str) -> Deployment:
    """The deployment, to be changed. Raises `NotFound` for one that is on its way out, `Conflict` for a companion."""
    known = deployments.get(ws, reference)
    if known.wanted == "deleted":
        raise NotFound(f"There is no deployment '{reference}' any more: it is being deleted.")
    return companions.check_own(known)


def _add_revision(ws: WriteSession, made: Deployment, at: datetime, note: str | None = None) -> None:
    revision = Revision(
        number=made.revision, snapshot_id=made.snapshot_id, settings=made.settings, created=at, note=note
    )
    deployments.add_revision(ws, made.id, revision)


def tell(ws: WriteSession, installation: Installation) -> None:
    """Have somebody see to the deployments, as soon as this is stored."""
    ws.after_commit(lambda: installation.bell.ring(CHANGED))


# Keys


def create_key(ws: WriteSession, installation: Installation, reference: str, name: str) -> NewDeploymentKey:
    """A new key for callers. Its text is in the answer and nowhere else."""
    known = live(ws, reference)
    made = _new_key(ws, known, check_name(name, what="key"), None, now())
    _keys_changed(ws, installation, known, auth=True)
    return made


def rotate_key(
    ws: WriteSession, installation: Installation, reference: str, name: str, *, retain_minutes: float = 0
) -> NewDeploymentKey:
    """A new text for a key; the old one holds for `retain_minutes` more."""
    known, at = live(ws, reference), now()
    deployments.drop_retired_keys(ws, known.id, at)
    if not deployments.retire_key(ws, known.id, name, at + timedelta(minutes=retain_minutes)):
        raise NotFound(f"Deployment '{known.name}' has no key '{name}' in force.")
    made = _new_key(ws, known, name, None, at)
    _keys_changed(ws, installation, known, auth=True)
    return made


def revoke_key(ws: WriteSession, installation: Installation, reference: str, name: str) -> None:
    """Put a key out of force. Without any key left nobody is let in: to open a deployment is said otherwise."""
    known = live(ws, reference)
    if not deployments.revoke_key(ws, known.id, name):
        raise NotFound(f"Deployment '{known.name}' has no key '{name}'.")
    _keys_changed(ws, installation, known, auth=known.auth)


def _keys_changed(ws: WriteSession, installation: Installation, known: Deployment, *, auth: bool) -> None:
    deployments.save(ws, replace(known, auth=auth, updated=now()))
    tell(ws, installation)


def _first_key(ws: WriteSession, made: Deployment, wish: Wish, at: datetime) -> str | None:
    """The key that was asked for with the deployment, unless it has keys already."""
    if wish.auth_key is None and not wish.generate_auth_key:
        return None
    if wish.auth_key is not None and len(wish.auth_key) < KEY_LENGTH:
        mistake = fault("/auth_key", f"A key has at least {KEY_LENGTH} characters: shorter ones can be guessed.")
        raise InvalidInput("This key is too short.", errors=[mistake])
    if deployments.keys(ws, made.id):
        if wish.auth_key is not None:
            raise Conflict(f"Deployment '{made.name}' has keys already: make, rotate or revoke them one by one.")
        return None
    return _new_key(ws, made, FIRST_KEY, wish.auth_key, at).key


def _new_key(ws: WriteSession, known: Deployment, name: str, text: str | None, at: datetime) -> NewDeploymentKey:
    text = text or str(new_key_text())
    record = DeploymentKey(id=new_id(), deployment_id=known.id, name=name, created=at)
    deployments.insert_key(ws, record, digest_of(text.encode()))
    return NewDeploymentKey(key=text, record=record)


# What its service needs, and who it is


def plan(rs: ReadSession, installation: Installation, known: Deployment) -> Plan:
    """All that a service of the deployment needs."""
    settings, snapshot = installation.settings, snapshots.get(rs, known.snapshot_id)
    stack = stacks.get(rs, snapshot.content.stack)
    keys = deployments.digests(rs, known.id)
    seat = None
    if known.companion_of is not None:
        seat, keys = companions.seat(rs, known), companions.digests(installation, known.id)
    return Plan(
        deployment_id=known.id,
        deployment_name=known.name,
        revision=known.revision,
        snapshot=snapshot,
        settings=known.settings,
        keys=keys,
        auth=known.auth or known.settings.auth == "server",
        host=known.settings.uvicorn_host,
        port=known.settings.uvicorn_port,
        seat=seat,
        home=str(settings.home),
        server=installation.services or installation.address,
        token=installation.signer.sign("deployment", known.id, lifetime=TOKEN_LIFETIME),
        artifact_store=stack.components["artifact_store"],
        secret_store=stack.components.get("secret_store") or shared_secrets(installation),
        grace=settings.grace,
        parallel_steps=settings.steps_at_once,
        image_builder=stack.components.get("image_builder"),
        container_registry=stack.components.get("container_registry"),
        archive=str(installation.code_directory / f"{snapshot.content.code}.tar"),
    )


def admit(rs: ReadSession, who: Principal, reference: str) -> Admission:
    """Let a caller in who may run things here: what there is, or a template of the pipeline. Raises `NotFound` otherwise."""
    known = deployments.get(rs, reference)
    if who.within is not None and who.within.isdisjoint(templates.names_of(rs, known.pipeline_id)):
        raise NotFound(f"There is no deployment '{reference}'.")
    return Admission(account=who.name, deployment_id=known.id)


def authenticate(installation: Installation, token: str) -> Principal:
    """The service that holds this token; it may report what it was asked, and read."""
    claims = installation.signer.check("deployment", token)
    try:
        with installation.db.read() as session:
            known = deployments.get(session, claims["sub"])
    except NotFound:
        raise Unauthenticated("The deployment of this token was deleted.") from None
    may = frozenset({Permission.EXECUTE, Permission.READ})
    return Principal(kind="deployment", name=f"deployment {known.name}", deployment_id=known.id, permissions=may)


# What it was asked


def take_in(ws: WriteSession, installation: Installation, reference: str, served: Sequence[ServedRun]) -> TakenIn:
    """Keep the runs that a service has carried out. Those that are known already change nothing.

    Raises `InvalidInput` for a run of a snapshot that the deployment has never served: a service reports for itself.
    """
    known = deployments.get(ws, reference)
    seat = companions.seat_if_any(ws, known)
    fresh = {one.id: one for one in served}
    ids, _ = runs.taken(ws, list(fresh), [])
    fresh = {one: run for one, run in fresh.items() if one not in ids}
    _, names = runs.taken(ws, list(fresh), [one.name for one in fresh.values()])
    made: dict[str, Progress] = {}
    of = _pipelines(ws, known, fresh.values())
    for one in fresh.values():
        name = f"{one.name}-{one.id[-8:]}" if one.name in names else one.name
        names.add(name)
        made[one.id] = _folded(of[one.snapshot_id], one, name, companions.cause(known, seat, one.mirror_of))
    runs.insert_ended(ws, [one.run for one in made.values()])
    runs.save_steps(ws, [step for one in made.values() for step in one.steps.values()])
    _keep_artifacts(ws, fresh)
    logs.begin(ws, {one.id: [line for event in one.events for line in event.lines] for one in fresh.values()})
    events.begin(ws, {identity: _history(one) for identity, one in made.items()})
    for progress in made.values():
        ws.after_commit(partial(installation.metrics.ended, progress.run))
    return TakenIn(new=len(fresh), known=len(served) - len(fresh))


def _pipelines(ws: WriteSession, known: Deployment, served: Iterable[ServedRun]) -> dict[str, tuple[str, str]]:
    """Snapshot -> id and name of its pipeline. What an earlier revision has served may be of another one."""
    found = {known.snapshot_id: (known.pipeline_id, known.pipeline_name)}
    for one in served:
        if one.snapshot_id in found:
            continue
        if not deployments.has_served(ws, known.id, one.snapshot_id):
            told = f"Run {one.id} is of snapshot '{one.snapshot_id}', which deployment '{known.name}' has never served."
            raise InvalidInput(told, errors=[fault("/snapshot_id", "Expected a snapshot of one of its revisions.")])
        snapshot = snapshots.get(ws, one.snapshot_id)
        found[one.snapshot_id] = (snapshot.pipeline_id, snapshot.content.pipeline)
    return found


def _folded(pipeline: tuple[str, str], one: ServedRun, name: str, cause: Cause) -> Progress:
    """The run as its events leave it. One whose events do not add up has failed, and says so."""
    run = Run(
        id=one.id,
        name=check_name(name, what="run"),
        state=RunState.STARTING,
        pipeline_id=pipeline[0],
        pipeline_name=pipeline[1],
        snapshot_id=one.snapshot_id,
        parameters=one.parameters,
        origins=one.origins,
        configuration=_NOTHING_SAID,
        cause=cause,
        tags=one.tags,
        fence=1,
        created=one.created,
    )
    progress = Progress(run, {})
    for event in one.events:
        progress = fold(progress, event)
    if not progress.run.state.terminal:
        raise Conflict(f"Run {one.id} has not ended: a service tells of a request when it has been answered.")
    return progress


def _keep_artifacts(ws: WriteSession, fresh: dict[str, ServedRun]) -> None:
    made = [
        (replace(event.artifact, run_id=one.id, step=event.step, output=event.output), event, one)
        for one in fresh.values()
        for event in one.events
        if event.artifact is not None
    ]
    artifacts.insert(ws, [artifact for artifact, _, _ in made])
    uses = [
        Use(artifact_id=artifact.id, run_id=one.id, step=event.step or "", kind="output", name=event.output or "")
        for artifact, event, one in made
    ]
    for one in fresh.values():
        for event in one.events:
            uses += [
                Use(artifact_id=artifact_id, run_id=one.id, step=event.step or "", kind="input", name=name)
                for name, artifact_id in event.inputs.items()
            ]
    artifacts.note_uses(ws, uses)


def _history(progress: Progress) -> list[events.Entry]:
    run = progress.run
    told = [_step_entry(step, run) for step in progress.steps.values()]
    end = events.Entry(at=run.ended or run.created, type=f"run_{run.state}", data={"reason": run.reason})
    return [*told, end]


def _step_entry(step: StepRun, run: Run) -> events.Entry:
    data = {
        "reason": step.reason,
        "error": step.error.message if step.error else None,
        "started": step.started.isoformat() if step.started else None,
    }
    at = step.ended or step.started or run.created
    return events.Entry(at=at, type=f"step_{step.state}", step=step.step, data=data)
