"""Services in a Kubernetes cluster: a Deployment that rolls from one revision to the next, and what belongs to it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from penstock.errors import Conflict, Forbidden, InvalidInput, PenstockError, Unavailable, fault
from penstock.model.deployment import DeploymentState, Plan, Standing
from penstock.model.reading import read
from penstock.model.stack import Component
from penstock.stack.flavors import kubernetes_standing as standings
from penstock.stack.flavors.kubernetes_cluster import MANAGER, Cluster, Object
from penstock.stack.flavors.kubernetes_manifests import (
    DEPLOYMENT,
    KINDS,
    OBJECTS,
    PLACEHOLDER_IMAGE,
    REVISION,
    key_of,
    lodged,
    manifests,
)
from penstock.stack.flavors.kubernetes_options import Options
from penstock.stack.images import image_of
from penstock.stack.registry import build
from penstock.stack.works import Superseded, Work, Works

log = logging.getLogger("penstock.kubernetes")

FRESH = 1.0
"""Seconds for which what was seen holds: whoever waits for a deployment asks ten times a second."""

_OURS = (
    ("networking.k8s.io/v1", "Ingress"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
    ("v1", "Service"),
    ("v1", "Secret"),
)
_DEPLOYMENT, _CLAIM = ("apps/v1", "Deployment"), ("v1", "PersistentVolumeClaim")

_TRIES = 20
_FORMER = f"{MANAGER}-before-scaling"
"""Who owns the number of pods from when it is no longer ours until an autoscaler has changed it."""


class KubernetesDeployer:
    """The deployer `kubernetes`. Its options are those of `kubernetes_options.Options`.

    What it has applied is told by the cluster itself: by the label that everything has, and by what the Deployment lists. So
    any number of servers may look after one deployment, and none has to remember anything.
    """

    extra = "kubernetes"
    place = ("context", "kubeconfig", "namespace")
    """Options that say where a deployment is: all others may change with an update."""

    def __init__(self, **options: Any) -> None:
        self._options = read(Options, options, what="What is said of deployer 'kubernetes'", at=("deployer", "options"))
        self._cluster = Cluster(self._options.kubeconfig, self._options.context)
        self._works = Works("kubernetes")
        self._seen: dict[str, tuple[float, Standing]] = {}
        self._removed: dict[str, float] = {}
        self._tidying: set[str] = set()
        self._orderly: dict[str, str] = {}
        if self._options.image_builder:
            build("image_builder", self._builder(None))  # refuses now what cannot be

    def apply(self, plan: Plan) -> None:
        """See `Deployer`. What could not work in a pod is refused now; what the cluster refuses is told by `state`."""
        manifests(lodged(plan, self._options), self._options, PLACEHOLDER_IMAGE)
        if self._options.image is None:
            self._registry(plan)
        self._works.begin(plan.deployment_id, plan, self._carry_out)

    def state(self, deployment_id: str) -> Standing:
        """See `Deployer`. What a revision that serves no longer has is removed behind its back."""
        work = self._works.get(deployment_id)
        seen = self._seen.get(deployment_id)
        if work is not None:
            revision = work.plan.revision if work.plan is not None else None
            state = DeploymentState.ERROR if work.error else DeploymentState.PENDING
            if work.error is not None and work.error == self._cluster.away:
                state = DeploymentState.UNKNOWN
            reason = work.error or work.reason
            return _placed(Standing(state=state, reason=reason, revision=revision, held=False), seen)
        if seen is not None and time.monotonic() - seen[0] < FRESH:
            return seen[1]
        try:
            found = self._look(deployment_id)
        except PenstockError as error:
            return _placed(Standing(state=DeploymentState.UNKNOWN, reason=error.detail), seen)
        self._seen[deployment_id] = (time.monotonic(), found)
        return found

    def logs(self, deployment_id: str, tail: int) -> list[str]:
        """See `Deployer`. Of all pods by time, those that crashed too; while there are none: what building the image has said."""
        pods = self._pods(deployment_id)
        lines: list[tuple[str, str, str]] = []
        for pod in pods:
            name = pod["metadata"]["name"]
            for previous in (True, False) if _has_crashed(pod) else (False,):
                for line in self._cluster.logs(self._options.namespace, name, tail, previous=previous):
                    at, _, text = line.partition(" ")
                    lines.append((at, name.rpartition("-")[2], text))
        lines.sort(key=lambda one: one[0])
        work = self._works.get(deployment_id)
        if not lines:
            return list(work.lines if work else ())[-tail:]
        return [f"[{pod}] {text}" if len(pods) > 1 else text for _, pod, text in lines[-tail:]]

    def remove(self, deployment_id: str) -> None:
        """See `Deployer`. A disk is given up only where `state` has told that nothing runs any more."""
        work = self._works.get(deployment_id)
        if work is not None and not work.ended.is_set():  # what it is at must not come after us
            self._works.begin(deployment_id, None, lambda *_: self._take_down(deployment_id, disks=False))
            return
        self._works.forget(deployment_id)
        self._cluster.check()
        _, seen = self._seen.get(deployment_id, (0.0, None))
        disks = seen is not None and seen.state is DeploymentState.ABSENT
        if disks or time.monotonic() - self._removed.get(deployment_id, 0.0) > FRESH:
            self._take_down(deployment_id, disks=disks)

    def manifests(self, plan: Plan) -> list[Object]:
        """What the deployment consists of, without credentials: a placeholder stands for them, and for an image to be built."""
        image = self._options.image or PLACEHOLDER_IMAGE
        return manifests(lodged(plan, self._options), self._options, image, secrets=False)

    # Looking

    def _look(self, deployment_id: str) -> Standing:
        self._cluster.check()
        deployment = self._deployment(deployment_id)
        pods = self._pods(deployment_id)
        found = standings.standing(deployment, pods)
        if deployment is None:
            return found
        if found.state is DeploymentState.RUNNING:
            self._see_to_order(deployment_id, deployment)
        url, inner = self._urls(deployment, pods)
        return replace(found, url=url, inner_url=inner)

    def _deployment(self, deployment_id: str) -> Object | None:
        found = self._list(_DEPLOYMENT, deployment_id)
        return found[0] if found else None

    def _pods(self, deployment_id: str) -> list[Object]:
        return self._list(("v1", "Pod"), deployment_id)

    def _list(self, kind: tuple[str, str], deployment_id: str) -> list[Object]:
        return self._cluster.find(*kind, self._options.namespace, f"{DEPLOYMENT}={deployment_id}")

    def _urls(self, deployment: Object, pods: Iterable[Object]) -> tuple[str | None, str | None]:
        name, space = deployment["metadata"]["name"], self._options.namespace
        ingress = self._options.ingress and self._cluster.get(("networking.k8s.io/v1", "Ingress", name), space)
        service = self._cluster.get(("v1", "Service", name), space)
        return standings.url(service, ingress or None, pods), standings.inner_url(service)

    # Applying

    def _carry_out(self, deployment_id: str, work: Work) -> None:
        plan = work.plan
        assert plan is not None
        image = self._options.image or self._built(plan, work)
        work.check()
        work.reason = "telling the cluster"
        wanted = manifests(lodged(plan, self._options), self._options, image)
        self._make_namespace()
        _check_revision(self._deployment(deployment_id), plan)
        *others, deployment = [one for one in wanted if self._is_to_be_applied(one, plan)]
        for one in others:
            work.check()
            self._cluster.apply(one, self._options.namespace)
        work.check()
        self._apply_deployment(deployment, {key_of(one)[:2] for one in wanted}, plan)
        if deployment_id in self._seen:  # where it is holds, how it stands does not
            self._seen[deployment_id] = (0.0, self._seen[deployment_id][1])

    def _apply_deployment(self, deployment: Object, kinds: set[tuple[str, str]], plan: Plan) -> None:
        """Raises `Superseded` where a later revision is, even if it has come since somebody looked."""
        metadata = deployment["metadata"]
        for _ in range(_TRIES):
            known = self._deployment(plan.deployment_id)
            _check_revision(known, plan)
            if known is not None:
                kinds |= _kinds(known)
                metadata["resourceVersion"] = self._left_to_scaling(known, deployment)["metadata"]["resourceVersion"]
            metadata["annotations"][KINDS] = json.dumps(sorted(kinds))
            try:
                self._cluster.apply(deployment, self._options.namespace)
            except Conflict:  # something of it has changed meanwhile, if only its status
                continue
            return
        raise Unavailable("The Deployment changes all the time: it could not be applied yet.")

    def _left_to_scaling(self, known: Object, deployment: Object) -> Object:
        """The Deployment that is there. If how many pods it has is no longer ours to say, so many stay until somebody says it.

        A number that nobody owns is one.
        """
        if "replicas" in deployment["spec"] or not _owns_replicas(known):
            return known
        version, kind, name = key_of(known)
        kept = {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
        return self._cluster.apply(
            {**kept, "spec": {"replicas": known["spec"]["replicas"]}}, self._options.namespace, _FORMER
        )

    def _built(self, plan: Plan, work: Work) -> str:
        work.reason = "building the image"
        builder = build("image_builder", self._builder(plan.image_builder))
        return builder.build(image_of(plan), build("container_registry", self._registry(plan)), work.say)

    def _builder(self, of_stack: Component | None) -> Component:
        said = self._options.image_builder
        return of_stack if of_stack is not None and not said else Component(flavor="docker", options=said)

    def _registry(self, plan: Plan) -> Component:
        engine = {name: value for name, value in self._options.image_builder.items() if name == "engine"}
        if self._options.registry is not None:
            return Component(flavor="docker", options={"prefix": self._options.registry, **engine})
        if plan.container_registry is not None:
            return plan.container_registry
        told = "Machines of a cluster take images from a registry: say its prefix, or an `image` of your own."
        raise InvalidInput("It is not said where the image goes.", errors=[fault("/deployer/options/registry", told)])

    def _make_namespace(self) -> None:
        space = self._options.namespace
        if self._options.create_namespace and self._cluster.get(("v1", "Namespace", space), "") is None:
            labels = {"app.kubernetes.io/managed-by": "penstock"}
            made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space, "labels": labels}}
            self._cluster.apply(made, "")

    def _is_to_be_applied(self, manifest: Object, plan: Plan) -> bool:
        """Raises `Conflict` for an object that is somebody else's. A Secret that is there holds the same plan, and cannot change."""
        version, kind, name = key_of(manifest)
        known = self._cluster.get((version, kind, name), self._options.namespace)
        if known is None:
            return True
        if (known["metadata"].get("labels") or {}).get(DEPLOYMENT) != plan.deployment_id:
            raise Conflict(
                f"There is a {kind} named '{name}' in the cluster that does not belong to this deployment: it is left alone. "
                "Rename one of the two, or remove that."
            )
        return not known.get("immutable")

    # Removing

    def _see_to_order(self, deployment_id: str, deployment: Object) -> None:
        """Have what is superfluous removed. Once it is, nothing is until something else is applied."""
        applied = deployment["metadata"]["annotations"].get(OBJECTS, "")
        if self._orderly.get(deployment_id) == applied:
            return
        if self._superfluous(deployment):
            self._tidy(deployment_id)
        else:
            self._orderly[deployment_id] = applied

    def _tidy(self, deployment_id: str) -> None:
        if deployment_id in self._tidying:
            return
        self._tidying.add(deployment_id)
        threading.Thread(target=self._tidied, args=(deployment_id,), name="penstock-kubernetes", daemon=True).start()

    def _tidied(self, deployment_id: str) -> None:
        try:
            deployment = self._deployment(deployment_id)
            if deployment is not None and self._works.get(deployment_id) is None and standings.complete(deployment):
                for one in self._superfluous(deployment):
                    self._delete(one)
        except PenstockError as error:
            log.warning("what deployment %s no longer has could not be removed: %s", deployment_id, error.detail)
        finally:
            self._tidying.discard(deployment_id)

    def _superfluous(self, deployment: Object) -> list[Object]:
        """What belongs to the deployment, but not to what serves. Disks are kept: they may hold what nobody else has."""
        kept = set(standings.listed(deployment, OBJECTS))
        found = self._belongings(deployment["metadata"]["labels"][DEPLOYMENT], deployment) if kept else []
        return [one for one in found if key_of(one) not in kept]

    def _belongings(self, deployment_id: str, deployment: Object | None) -> list[Object]:
        """What belongs to the deployment, but for the Deployment and its disk."""
        said = _kinds(deployment or {})
        found: list[Object] = []
        for kind in sorted({*said, *_OURS} - {_DEPLOYMENT, _CLAIM}):
            try:
                found += self._list(kind, deployment_id)
            except Forbidden:  # who never needed a right to a kind may have none
                if kind in said:
                    raise
        return found

    def _take_down(self, deployment_id: str, *, disks: bool) -> None:
        """The Deployment goes last: as long as it is there, it says what else may be."""
        deployment = self._deployment(deployment_id)
        for one in self._belongings(deployment_id, deployment):
            self._delete(one)
        if deployment is not None:
            self._delete(deployment)
        elif disks and not self._pods(deployment_id):
            for one in self._list(_CLAIM, deployment_id):
                self._delete(one)
        self._removed[deployment_id] = time.monotonic()
        self._orderly.pop(deployment_id, None)
        self._seen.pop(deployment_id, None)

    def _delete(self, thing: Object) -> None:
        if not thing["metadata"].get("deletionTimestamp"):
            self._cluster.delete(key_of(thing), self._options.namespace, thing["metadata"]["uid"])


def _placed(found: Standing, seen: tuple[float, Standing] | None) -> Standing:
    """The same, where it was when it was seen last."""
    return found if seen is None else replace(found, url=seen[1].url, inner_url=seen[1].inner_url)


def _revision(deployment: Object) -> int:
    told = (deployment["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(told) if told.isdigit() else 0


def _check_revision(known: Object | None, plan: Plan) -> None:
    if known is not None and _revision(known) > plan.revision:
        raise Superseded  # by another server, or another object of ours


def _kinds(deployment: Object) -> set[tuple[str, str]]:
    """All kinds that it says there may be objects of."""
    return {(one[0], one[1]) for one in standings.listed(deployment, KINDS) if len(one) == 2}


def _owns_replicas(deployment: Object) -> bool:
    """Whether how many pods there are was said by us."""
    return any(
        "f:replicas" in one.get("fieldsV1", {}).get("f:spec", {})
        for one in deployment["metadata"].get("managedFields") or ()
        if (one.get("manager"), one.get("operation")) == (MANAGER, "Apply")
    )


def _has_crashed(pod: Object) -> bool:
    return any(one.get("restartCount") for one in (pod.get("status") or {}).get("containerStatuses") or ())
