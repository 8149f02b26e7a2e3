"""A namespace of a real cluster, for acceptance tests of the deployer `kubernetes`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from penstock.model.deployment import DeploymentState, Plan, Standing
from penstock.stack.flavors.kubernetes_deployer import KubernetesDeployer
from penstock.stack.flavors.kubernetes_manifests import DEPLOYMENT
from tests.control_planes import Api, ControlPlane
from tests.launching import eventually

IMAGE = "registry.example/p:1"
PLACES = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "Pod": "/api/v1/namespaces/{}/pods",
}


class Place:
    """A namespace of a real cluster, and a deployer that has its own way there."""

    def __init__(self, api: Api, space: str, plane: ControlPlane | None) -> None:
        self.api, self.space, self.plane = api, space, plane

    def deployer(self, **said: Any) -> KubernetesDeployer:
        return KubernetesDeployer(
            **{"kubeconfig": self.api.kubeconfig, "namespace": self.space, "image": IMAGE, **said}
        )

    def all(self, kind: str) -> list[dict[str, Any]]:
        return self.api.list(PLACES[kind].format(self.space))

    def names(self, kind: str) -> list[str]:
        return [one["metadata"]["name"] for one in self.all(kind)]

    def one(self, kind: str) -> dict[str, Any]:
        (found,) = self.all(kind)
        return found

    def path(self, kind: str, name: str) -> str:
        return f"{PLACES[kind].format(self.space)}/{name}"

    def ours(self) -> set[tuple[str, str]]:
        """Everything here that belongs to a deployment."""
        return {
            (kind, one["metadata"]["name"])
            for kind in PLACES
            for one in self.api.list(PLACES[kind].format(self.space), labelSelector=DEPLOYMENT)
        }

    def grant(self, tmp_path: Path, *rules: dict[str, Any]) -> str:
        """A kubeconfig of a service account that may do this."""
        base = f"/api/v1/namespaces/{self.space}/serviceaccounts"
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.space}"
        about = {"name": "penstock"}
        self.api.ask("POST", base, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})
        version = "rbac.authorization.k8s.io/v1"
        role = {"apiVersion": version, "kind": "Role", "metadata": about, "rules": list(rules)}
        self.api.do("PATCH", f"{rbac}/roles/penstock", role, "application/apply-patch+yaml", fieldManager="tests")
        binding = {
            "apiVersion": version, "kind": "RoleBinding", "metadata": about,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "penstock"},
            "subjects": [{"kind": "ServiceAccount", "name": "penstock", "namespace": self.space}],
        }  # fmt: skip
        self.api.do(
            "PATCH", f"{rbac}/rolebindings/penstock", binding, "application/apply-patch+yaml", fieldManager="tests"
        )
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        token = self.api.do("POST", f"{base}/penstock/token", asked)["status"]["token"]
        told = yaml.safe_load(Path(self.api.kubeconfig).read_text())
        user = next(one["context"]["user"] for one in told["contexts"] if one["name"] == told["current-context"])
        told["users"] = [{"name": user, "user": {"token": token}}]
        path = tmp_path / "granted"
        path.write_text(json.dumps(told))
        return str(path)


def is_up(deployer: KubernetesDeployer, plan: Plan) -> Callable[[], bool]:
    def look() -> bool:
        found = deployer.state(plan.deployment_id)
        return found.state is DeploymentState.RUNNING and found.revision == plan.revision

    return look


def told(deployer: KubernetesDeployer, plan: Plan, state: DeploymentState) -> Standing:
    """How it stands, as soon as it is so."""
    return eventually(lambda: (one := deployer.state(plan.deployment_id)).state is state and one.reason and one)


def applied(deployer: KubernetesDeployer, plan: Plan) -> None:
    deployer.apply(plan)
    eventually(lambda: deployer.state(plan.deployment_id).held)
