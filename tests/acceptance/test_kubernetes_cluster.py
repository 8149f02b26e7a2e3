"""The deployer `kubernetes` and a real API server, with the real controllers (`tests.control_planes`, which says how to have them).

On our own control plane no machine is: the test plays it, and says what becomes of pods. A foreign cluster has its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.model.deployment import DeploymentState, Plan
from penstock.stack.flavors import kubernetes_cluster, kubernetes_deployer
from penstock.stack.flavors.kubernetes_deployer import KubernetesDeployer
from penstock.stack.flavors.kubernetes_manifests import key_of, lodged, manifests, name_of
from penstock.stack.flavors.kubernetes_options import Options
from tests.acceptance.cluster_under_test import IMAGE, PLACES, Place, applied, is_up, told
from tests.clusters import SINGLE, plan_of
from tests.control_planes import Machine, cluster, failing, namespace, serving
from tests.launching import eventually

pytestmark = pytest.mark.timeout(300)

MORE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "${penstock.name}-more"}, "data": {"a": "b"}}
_HOSTS = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
ALL: dict[str, Any] = {
    "command": ["python", "-m", "penstock.serve.container"],
    "image_pull_policy": "IfNotPresent",
    "image_pull_secrets": ["pull"],
    "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"memory": "2Gi", "nvidia.com/gpu": "1"}},
    "environment": {"A": "b"},
    "environment_from": ["values"],
    "volumes": [
        {"name": "models", "mount_path": "/models", "source": {"configMap": {"name": "m"}}, "read_only": True},
        {"name": "more", "mount_path": "/more", "source": {"emptyDir": {"sizeLimit": "1Gi"}}, "sub_path": "x"},
    ],
    "labels": {"team": "ml", "example.com/team": "ml"},
    "annotations": {"example.com/note": "a note"},
    "pod_annotations": {"prometheus.io/scrape": "true"},
    "service_account": "service",
    "node_selector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}
            ]
        },
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": _HOSTS}]},
    },
    "topology_spread_constraints": [{"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", **_HOSTS}],
    "max_surge": 2,
    "min_ready_seconds": 1,
    "startup_timeout": 60,
    "readiness_probe": {"period": 1, "timeout": 2, "failures": 3},
    "service_type": "LoadBalancer",
    "service_port": 8080,
    "service_annotations": {"example.com/balancer": "internal"},
    "ingress": {
        "host": "x.example", "path": "/x", "class_name": "nginx", "tls_secret": "tls",
        "annotations": {"nginx.ingress.kubernetes.io/ssl-redirect": "true"},
    },
    "extra_resources": [MORE],
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "one": {**ALL, "storage": "2Gi", "storage_class": "fast"},
    "several": {**ALL, "replicas": 3},
    "scaled": {
        **ALL,
        "autoscaling": {
            "min_replicas": 2, "max_replicas": 5, "cpu_percent": 70, "memory_percent": 80,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
            "metrics": [
                {"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "5"}}}
            ],
        },
    },
    "plain": {},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_deployer, "FRESH", 0.0)


@pytest.fixture
def place() -> Iterator[Place]:
    api, plane = cluster()
    with namespace(api) as space:
        yield Place(api, space, plane)


@pytest.fixture
def own() -> Iterator[Place]:
    """The same on a control plane of our own, where the test plays the machines."""
    api, plane = cluster(own=True)
    with namespace(api) as space:
        yield Place(api, space, plane)


@pytest.fixture
def machine(own: Place) -> Iterator[Machine]:
    with Machine(own.api, own.space) as made:
        yield made


def the_plan(shape: str) -> Plan:
    several = shape in ("several", "scaled")
    return plan_of(auth=True, **({"settings": SINGLE} if several else {}))


@pytest.mark.parametrize("shape", list(SHAPES))
def test_all_that_we_render_is_taken_strictly_and_without_a_warning(place: Place, shape: str) -> None:
    options, plan = Options(namespace=place.space, **_read(SHAPES[shape])), the_plan(shape)
    made = manifests(lodged(plan, options), options, IMAGE)
    for one in made:
        path = place.path(one["kind"], one["metadata"]["name"])
        query = {"fieldManager": "penstock", "fieldValidation": "Strict"}
        answer = place.api.ask("PATCH", path, one, "application/apply-patch+yaml", **query)
        assert (answer.status, answer.warned) == (201, []), (key_of(one), answer)
    expected = {"plain": 4, "one": 6, "several": 6, "scaled": 7}
    assert len(made) == expected[shape]


def _read(said: dict[str, Any]) -> dict[str, Any]:
    read = KubernetesDeployer(image=IMAGE, **said)._options
    return {name: getattr(read, name) for name in said}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_same_again_changes_nothing(place: Place, shape: str) -> None:
    plan = the_plan(shape)
    about = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "service"}}
    place.api.do("POST", f"/api/v1/namespaces/{place.space}/serviceaccounts", about)
    applied(place.deployer(**SHAPES[shape]), plan)
    eventually(lambda: place.all("ReplicaSet"))
    before = _contents(place, scaled=shape == "scaled")
    applied(place.deployer(**SHAPES[shape]), replace(plan, token="another"))
    assert _contents(place, scaled=shape == "scaled") == before
    assert len(place.all("ReplicaSet")) == 1


def _contents(place: Place, *, scaled: bool) -> dict[str, Any]:
    """All that was applied, with its generation; but for how many pods there are, where an autoscaler says it."""
    found = {kind: place.all(kind) for kind in PLACES if kind not in ("Pod", "ReplicaSet", "ConfigMap")}
    for one in (one for several in found.values() for one in several):
        one["metadata"] = {name: one["metadata"].get(name) for name in ("uid", "labels", "annotations", "generation")}
        one["metadata"]["annotations"].pop("deployment.kubernetes.io/revision", None)
        one.pop("status", None)
    if scaled:
        del found["Deployment"][0]["spec"]["replicas"], found["Deployment"][0]["metadata"]["generation"]
    return found


def test_it_rolls_from_one_revision_to_the_next_and_leaves_nothing(own: Place, machine: Machine) -> None:
    plan = plan_of(auth=True)
    deployer = own.deployer(ingress={"host": "x.example"}, extra_resources=[MORE])
    applied(deployer, plan)
    eventually(is_up(deployer, plan))
    assert deployer.state(plan.deployment_id).url == "http://x.example"
    (old,) = own.names("Pod")

    machine.how = lambda pod: serving(pod) if pod["metadata"]["name"] == old else None
    following = replace(plan, revision=2)
    deployer = own.deployer()
    applied(deployer, following)
    eventually(lambda: len(own.all("Pod")) == 2)
    assert deployer.state(plan.deployment_id).state is DeploymentState.PENDING
    more = f"{name_of(plan)}-more"
    assert (len(own.all("Ingress")), len(own.all("Secret")), more in own.names("ConfigMap")) == (1, 2, True)
    assert "deletionTimestamp" not in own.api.do("GET", own.path("Pod", old))["metadata"]

    machine.how = serving
    eventually(is_up(deployer, following))
    eventually(lambda: deployer.state(plan.deployment_id) and not own.all("Ingress") and len(own.all("Secret")) == 1)
    eventually(lambda: more not in own.names("ConfigMap"))
    eventually(lambda: len(own.names("Pod")) == 1 and old not in own.names("Pod"))
    assert len(own.all("ReplicaSet")) == 2
    assert deployer.state(plan.deployment_id).url == f"http://{name_of(plan)}.{own.space}.svc"

    deployer.remove(plan.deployment_id)
    eventually(lambda: deployer.state(plan.deployment_id).state is DeploymentState.ABSENT)
    assert own.ours() == {("PersistentVolumeClaim", name_of(plan))}
    deployer.remove(plan.deployment_id)
    eventually(lambda: own.ours() == set())


UNSCHEDULED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available",
}
WAITING = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "registry.example/p:1"'}
ENDED = {"exitCode": 1, "reason": "Error", "message": "one\npenstock: the service does not come up: no model\n"}


def test_how_pods_are_is_told_in_words(own: Place, machine: Machine) -> None:
    deployer, plan = own.deployer(), plan_of()
    machine.how = lambda pod: {"conditions": [UNSCHEDULED]}
    _unscheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available",
    }
    machine.how = lambda pod: None
    applied(deployer, plan)
    eventually(lambda: own.all("Pod"))
    (pod,) = own.all("Pod")
    own.api.merge(f"{own.path('Pod', pod['metadata']['name'])}/status", {"status": {"conditions": [UNSCHEDULED]}})
    assert told(deployer, plan, DeploymentState.PENDING).reason == "No machine takes its pod: 0/3 nodes are available"
    machine.how = lambda pod: failing(pod, {"waiting": WAITING})
    assert told(deployer, plan, DeploymentState.ERROR).reason == f"ImagePullBackOff: {WAITING['message']}"
    machine.how = lambda pod: failing(
        pod, {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}, 2, {"terminated": ENDED}
    )
    eventually(lambda: "no model" in str(deployer.state(plan.deployment_id).reason))
    found = deployer.state(plan.deployment_id)
    assert found.state is DeploymentState.ERROR
    assert str(found.reason).startswith("Its container ended with status 1, again and again.\none\n")
    machine.how = serving
    eventually(is_up(deployer, plan))
    assert deployer.state(plan.deployment_id).reason is None


def test_a_quota_is_told(own: Place, machine: Machine) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    path = f"/api/v1/namespaces/{own.space}/resourcequotas"
    own.api.do("POST", path, quota)
    eventually(lambda: own.api.do("GET", f"{path}/q").get("status", {}).get("hard"))
    deployer, plan = own.deployer(), plan_of()
    applied(deployer, plan)
    found = told(deployer, plan, DeploymentState.ERROR)
    assert "Pods are refused" in str(found.reason)
    assert "exceeded quota: q" in str(found.reason)


def test_what_others_have_changed_is_taken_back_and_what_they_added_stays(place: Place) -> None:
    deployer, plan = place.deployer(), plan_of()
    applied(deployer, plan)
    path = place.path("Deployment", name_of(plan))
    theirs = {"metadata": {"labels": {"theirs": "1"}}, "spec": {"replicas": 4, "paused": False}}
    place.api.do("PATCH", path, theirs, "application/merge-patch+json", fieldManager="somebody")
    plain = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name_of(plan)},
        "spec": {"minReadySeconds": 9},
    }
    answer = place.api.ask("PATCH", path, plain, "application/apply-patch+yaml", fieldManager="somebody-else")
    assert answer.status == 409, answer  # what is ours others cannot take without force,
    place.api.do("PATCH", path, plain, "application/apply-patch+yaml", fieldManager="somebody-else", force="true")
    applied(deployer, replace(plan, revision=2))
    found = place.one("Deployment")
    assert (found["spec"]["replicas"], found["spec"].get("minReadySeconds", 0)) == (1, 0)  # and we take it back
    assert found["metadata"]["labels"]["theirs"] == "1"


def test_what_is_somebody_elses_is_left_alone(place: Place) -> None:
    plan = plan_of()
    theirs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name_of(plan)}-more"},
        "data": {"a": "theirs"},
    }
    place.api.do("POST", PLACES["ConfigMap"].format(place.space), theirs)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "stringData": {"a": "b"}}
    place.api.do("POST", PLACES["Secret"].format(place.space), secret)
    deployer = place.deployer(extra_resources=[MORE])
    deployer.apply(plan)
    assert f"There is a ConfigMap named '{name_of(plan)}-more'" in str(
        told(deployer, plan, DeploymentState.ERROR).reason
    )
    deployer = place.deployer()
    applied(deployer, plan)
    deployer.remove(plan.deployment_id)
    eventually(lambda: deployer.state(plan.deployment_id).state is DeploymentState.ABSENT)
    deployer.remove(plan.deployment_id)
    eventually(lambda: place.ours() == set())
    assert place.api.do("GET", place.path("ConfigMap", f"{name_of(plan)}-more"))["data"] == {"a": "theirs"}
    assert place.api.ask("GET", place.path("Secret", "theirs")).status == 200


def test_a_namespace_that_is_not_there_is_told_or_made(place: Place) -> None:
    deployer, plan = place.deployer(namespace=f"{place.space}-b"), plan_of()
    assert deployer.state(plan.deployment_id).state is DeploymentState.ABSENT
    deployer.apply(plan)
    found = told(deployer, plan, DeploymentState.ERROR)
    assert f"There is no namespace '{place.space}-b'" in str(found.reason)
    deployer = place.deployer(namespace=f"{place.space}-b", create_namespace=True)
    try:
        applied(deployer, plan)
        made = place.api.do("GET", f"/api/v1/namespaces/{place.space}-b")
        assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "penstock"
    finally:
        place.api.ask("DELETE", f"/api/v1/namespaces/{place.space}-b")


def test_several_servers_that_apply_at_once_do_no_harm(place: Place) -> None:
    plan = plan_of(auth=True)
    applied(place.deployer(ingress={}), plan)
    several = [place.deployer(ingress={}) for _ in range(5)]
    for number, one in enumerate(several):
        one.apply(replace(plan, revision=6 - number))
    for one in several:
        eventually(lambda one=one: one.state(plan.deployment_id).held)
    assert {one.state(plan.deployment_id).revision for one in several} == {6}


VERBS = ["get", "list", "create", "patch", "delete"]
NEEDED = (
    {"apiGroups": [""], "resources": ["services", "secrets", "persistentvolumeclaims"], "verbs": VERBS},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": VERBS},
    {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
)
INGRESSES = {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": VERBS}


def test_a_right_that_is_missing_is_told_with_what_to_grant(own: Place, machine: Machine, tmp_path: Path) -> None:
    path, plan = own.grant(tmp_path, *NEEDED), plan_of(auth=True)
    deployer = own.deployer(kubeconfig=path, ingress={"host": "x.example"})
    deployer.apply(plan)
    found = told(deployer, plan, DeploymentState.ERROR)
    advice = f"Give it a role in namespace '{own.space}' that lets it get, list, create, patch and delete ingresses.networking.k8s.io."
    assert str(found.reason).endswith(advice)
    # Of kinds that it does not have it needs no rights at all.
    deployer = own.deployer(kubeconfig=path)
    applied(deployer, plan)
    eventually(is_up(deployer, plan))
    deployer.remove(plan.deployment_id)
    eventually(lambda: deployer.state(plan.deployment_id).state is DeploymentState.ABSENT)
    deployer.remove(plan.deployment_id)
    eventually(lambda: own.ours() == set())
    own.grant(tmp_path, *NEEDED, INGRESSES)
    deployer = own.deployer(kubeconfig=path, ingress={"host": "x.example"})
    applied(deployer, plan)
    eventually(is_up(deployer, plan))


def test_who_may_nothing_is_told(place: Place, tmp_path: Path) -> None:
    deployer, plan = place.deployer(kubeconfig=place.grant(tmp_path)), plan_of()
    found = deployer.state(plan.deployment_id)
    assert found.state is DeploymentState.UNKNOWN
    assert str(found.reason).endswith("lets it get, list, create, patch and delete deployments.apps.")


def test_a_field_that_kubernetes_does_not_know_is_told(place: Place) -> None:
    deployer, plan = place.deployer(affinity={"nodeAfinity": {}}), plan_of()
    deployer.apply(plan)
    assert "nodeAfinity" in str(told(deployer, plan, DeploymentState.ERROR).reason)


def test_a_cluster_that_another_authority_vouches_for_is_unknown(own: Place, tmp_path: Path) -> None:
    assert own.plane is not None
    plane = own.plane
    user = {"token": "nobody"}
    deployer = own.deployer(kubeconfig=plane.write_kubeconfig("nobody", user, tmp_path))
    assert "renew the credentials" in str(deployer.state("x").reason)
    path = plane.write_kubeconfig("nobody", user, tmp_path)
    said = yaml.safe_load(Path(path).read_text())
    del said["clusters"][0]["cluster"]["certificate-authority-data"]
    Path(path).write_text(json.dumps(said))
    found = own.deployer(kubeconfig=path).state("x")
    assert found.state is DeploymentState.UNKNOWN
    assert str(found.reason).startswith("The cluster does not answer (certificate verify failed")


def test_an_api_server_that_is_killed_and_back_costs_nothing(
    own: Place, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_cluster, "REST", 0.2)
    assert own.plane is not None
    deployer, plan = own.deployer(), plan_of()
    applied(deployer, plan)
    eventually(is_up(deployer, plan))
    before = deployer.state(plan.deployment_id)
    own.plane.kill_api()
    try:
        found = told(deployer, plan, DeploymentState.UNKNOWN)
        assert "The cluster does not answer" in str(found.reason)
        assert found.url == before.url
        following = replace(plan, revision=2)
        deployer.apply(following)
        eventually(lambda: "does not answer" in str(deployer.state(plan.deployment_id).reason))
        assert deployer.state(plan.deployment_id).state is DeploymentState.UNKNOWN
    finally:
        own.plane.start_api()
    eventually(is_up(deployer, following), patience=120)
    assert len(own.all("Deployment")) == 1


def test_how_many_there_are_stays_when_the_autoscaler_takes_over(own: Place, machine: Machine) -> None:
    plan = plan_of(settings=SINGLE)
    deployer = own.deployer(replicas=3)
    applied(deployer, plan)
    eventually(is_up(deployer, plan))
    scaled = own.deployer(autoscaling=SHAPES["scaled"]["autoscaling"] | {"max_replicas": 6}, resources=ALL["resources"])
    seen: set[int] = set()
    scaled.apply(replace(plan, revision=2))
    eventually(
        lambda: seen.add(own.one("Deployment")["spec"]["replicas"]) or is_up(scaled, replace(plan, revision=2))()
    )
    assert seen == {3}
    applied(own.deployer(replicas=2), replace(plan, revision=3))
    assert own.one("Deployment")["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    "first", [{"service_type": "NodePort"}, {"service_type": "LoadBalancer", "service_port": 8080}]
)
def test_a_service_that_was_open_is_closed(place: Place, first: dict[str, Any]) -> None:
    plan = plan_of(auth=True)
    applied(place.deployer(**first), plan)
    assert place.one("Service")["spec"]["ports"][0]["nodePort"]
    applied(place.deployer(), replace(plan, revision=2))
    (port,) = place.one("Service")["spec"]["ports"]
    assert (place.one("Service")["spec"]["type"], port["port"], port.get("nodePort")) == ("ClusterIP", 80, None)
