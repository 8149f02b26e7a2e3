"""Deployments over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import Field

from penstock.control import deployments, snapshots
from penstock.errors import Conflict, Forbidden, InvalidInput, fault
from penstock.model.deployment import (
    Admission,
    Deployment,
    DeploymentKey,
    DeploymentLogs,
    DeploymentManifests,
    DeploymentState,
    NewDeployment,
    NewDeploymentKey,
    Revision,
    ServedRuns,
    TakenIn,
)
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.stack import Component
from penstock.server.access import Here, Manager, Reader, Starter, Worker, Writer
from penstock.server.bodies import ListQuery, Page, Strict, answer, listing, record
from penstock.server.noun import Noun
from penstock.stack.contracts import ManifestDeployer
from penstock.store import deployments as stored

router = Noun("/deployments", "deployments")


class DeploymentQuery(ListQuery):
    """Filters of the list."""

    name: str | None = None
    pipeline: str | None = Field(default=None, description="Name or id of a pipeline.")
    state: DeploymentState | None = None


class CreateDeployment(Strict):
    """A deployment to be made, or its next revision. Give a snapshot, or a pipeline for its latest one."""

    name: str
    snapshot: str | None = Field(default=None, description="Id or name of a snapshot.")
    pipeline: str | None = Field(default=None, description="Id or name of a pipeline.")
    settings: DeploymentSettings | None = None
    deployer: str | None = Field(
        default=None, description="Flavor of the deployer; by default that of the stack, or `local`."
    )
    deployer_options: dict[str, Any] = Field(default={})
    tags: list[str] = Field(default=[], max_length=50)
    update: bool = Field(default=False, description="One of this name may be there already.")
    generate_auth_key: bool = False
    auth_key: str | None = Field(default=None, max_length=500)


class CreateDeploymentKey(Strict):
    """A key to be made."""

    name: str


class RotateDeploymentKey(Strict):
    """How long the old text of a rotated key stays valid."""

    retain_minutes: float = Field(default=0, ge=0, le=60 * 24 * 30)


class RollBack(Strict):
    """Where to go back to; by default to what was served before."""

    to: int | None = Field(default=None, ge=1)


@router.post("", response_model=NewDeployment, status_code=201)
def create_deployment(here: Here, _: Writer, request: Request, wanted: CreateDeployment) -> Response:
    """Deploy a snapshot. A key that is made with it is in this answer and never shown again."""
    if (wanted.snapshot is None) == (wanted.pipeline is None):
        mistakes = [fault(f"/{name}", "Give exactly one of the two.") for name in ("snapshot", "pipeline")]
        raise InvalidInput("Say what to deploy: a snapshot or a pipeline.", errors=mistakes)
    component = None
    if wanted.deployer is not None or wanted.deployer_options:
        component = Component(flavor=wanted.deployer or "local", options=wanted.deployer_options)
        request.app.state.deployer(component)  # an option that does not fit is refused now
    with here.db.write() as session:
        if wanted.snapshot is not None:
            snapshot = snapshots.get(session, wanted.snapshot)
        else:
            snapshot = snapshots.latest_runnable(session, str(wanted.pipeline))
        wish = deployments.Wish(
            name=wanted.name,
            snapshot=snapshot,
            settings=wanted.settings,
            deployer=component,
            tags=tuple(wanted.tags),
            update=wanted.update,
            generate_auth_key=wanted.generate_auth_key,
            auth_key=wanted.auth_key,
        )
        made = deployments.deploy(session, here, wish)
    return answer(made, 201, {"Cache-Control": "no-store"})


@router.get("", response_model=Page[Deployment])
def list_deployments(here: Here, _: Reader, query: Annotated[DeploymentQuery, Query()]) -> Response:
    """All deployments, newest first."""
    with here.db.read() as session:
        return listing(stored.page(session, query.window, **query.filters()), query)


@router.get("/{reference}", response_model=Deployment)
def get_deployment(here: Here, _: Reader, reference: str) -> Response:
    """One deployment, by id or name, as it stands."""
    with here.db.read() as session:
        return answer(stored.get(session, reference))


@router.get("/{reference}/admission", response_model=Admission)
def get_deployment_admission(here: Here, who: Starter, reference: str) -> Response:
    """Whether the caller may ask it: who may run things here, or a template of its pipeline. Its service asks on their behalf."""
    with here.db.read() as session:
        return answer(deployments.admit(session, who, reference))


@router.get("/{reference}/revisions", response_model=list[Revision])
def list_deployment_revisions(here: Here, _: Reader, reference: str) -> Response:
    """What it has served, newest first; at most a hundred."""
    with here.db.read() as session:
        return answer(stored.revisions(session, stored.get(session, reference).id))


@router.get("/{reference}/logs", response_model=DeploymentLogs)
def get_deployment_logs(
    here: Here, _: Reader, request: Request, reference: str, tail: Annotated[int, Query(ge=1, le=10_000)] = 200
) -> Response:
    """The last lines that its service has printed."""
    with here.db.read() as session:
        known = stored.get(session, reference)
    return answer(DeploymentLogs(lines=tuple(request.app.state.deployer(known.deployer).logs(known.id, tail))))


@router.get("/{reference}/manifests", response_model=DeploymentManifests)
def get_deployment_manifests(here: Here, _: Reader, request: Request, reference: str) -> Response:
    """The objects that it consists of, where its deployer has some. Placeholders stand for credentials."""
    with here.db.read() as session:
        known = stored.get(session, reference)
        plan = deployments.plan(session, here, known)
    deployer = request.app.state.deployer(known.deployer)
    if not isinstance(deployer, ManifestDeployer):
        raise Conflict(f"The deployer '{known.deployer.flavor}' keeps services up without manifests.")
    return answer(DeploymentManifests(manifests=tuple(deployer.manifests(plan))))


@router.post("/{reference}/provision", response_model=Deployment)
def provision_deployment(here: Here, _: Writer, reference: str) -> Response:
    """Have it run."""
    with here.db.write() as session:
        return answer(deployments.provision(session, here, reference))


@router.post("/{reference}/deprovision", response_model=Deployment)
def deprovision_deployment(here: Here, _: Writer, reference: str) -> Response:
    """Take it down; its record and its keys stay."""
    with here.db.write() as session:
        return answer(deployments.deprovision(session, here, reference))


@router.post("/{reference}/rollback", response_model=Deployment)
def roll_back_deployment(here: Here, _: Writer, reference: str, wanted: RollBack | None = None) -> Response:
    """Serve again what was served before, as the next revision."""
    with here.db.write() as session:
        return answer(deployments.roll_back(session, here, reference, to=wanted.to if wanted else None))


@router.delete("/{reference}", status_code=204)
def delete_deployment(
    here: Here,
    _: Writer,
    reference: str,
    force: Annotated[bool, Query(description="Remove the record now, whatever its deployer makes of it.")] = False,
) -> Response:
    """Take it down, and remove it when it is gone."""
    with here.db.write() as session:
        deployments.delete(session, here, reference, force=force)
    return Response(status_code=204)


@router.post("/{reference}/keys", response_model=NewDeploymentKey, status_code=201)
def create_deployment_key(here: Here, _: Manager, reference: str, wanted: CreateDeploymentKey) -> Response:
    """Make a key for callers. Its text is in this answer and never shown again; callers need a key from now on."""
    with here.db.write() as session:
        made = deployments.create_key(session, here, reference, wanted.name)
    return answer(made, 201, {"Cache-Control": "no-store"})


@router.get("/{reference}/keys", response_model=list[DeploymentKey])
def list_deployment_keys(here: Here, _: Manager, reference: str) -> Response:
    """Its keys, oldest first; never their texts."""
    with here.db.read() as session:
        return answer(stored.keys(session, stored.get(session, reference).id))


@router.post("/{reference}/keys/{key}/rotate", response_model=NewDeploymentKey)
def rotate_deployment_key(
    here: Here, _: Manager, reference: str, key: str, wanted: RotateDeploymentKey | None = None
) -> Response:
    """Give a key a new text; the old one may stay valid for a while."""
    retain = wanted.retain_minutes if wanted else 0
    with here.db.write() as session:
        made = deployments.rotate_key(session, here, reference, key, retain_minutes=retain)
    return answer(made, 200, {"Cache-Control": "no-store"})


@router.delete("/{reference}/keys/{key}", status_code=204)
def revoke_deployment_key(here: Here, _: Manager, reference: str, key: str) -> Response:
    """Put a key out of force. Without any key left nobody is let in."""
    with here.db.write() as session:
        deployments.revoke_key(session, here, reference, key)
    return Response(status_code=204)


@router.post("/{reference}/runs", response_model=TakenIn)
def report_served_runs(
    here: Here, caller: Worker, reference: str, served: Annotated[ServedRuns, record(ServedRuns)]
) -> Response:
    """What a service was asked, told by itself when it has answered. What is told twice changes nothing."""
    if caller.kind != "owner" and caller.deployment_id != reference:
        raise Forbidden("A service reports for its own deployment only.")
    with here.db.write() as session:
        return answer(deployments.take_in(session, here, reference, served.runs))
