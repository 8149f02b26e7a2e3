"""The deployer `kubernetes` over HTTP, against the stand-in for a cluster's API (`tests.clusters`, which says what it is not)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import EnvironmentFailed, InvalidInput, Unavailable
from penstock.model.deployment import DeploymentState, Plan, Standing
from penstock.model.stack import Component
from penstock.stack import registry
from penstock.stack.flavors import kubernetes_cluster, kubernetes_deployer
from penstock.stack.flavors.kubernetes_deployer import KubernetesDeployer
from penstock.stack.flavors.kubernetes_manifests import DEPLOYMENT, name_of
from tests.clusters import SINGLE, StandIn, kubeconfig, plan_of, stand_in
from tests.launching import eventually

IMAGE = "registry.example/p:1"
MORE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}, "data": {"a": "b"}}


@pytest.fixture(autouse=True)
def _looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_deployer, "FRESH", 0.0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[StandIn, str]]:
    with stand_in(tmp_path) as made:
        yield made


@pytest.fixture
def there(cluster: tuple[StandIn, str]) -> StandIn:
    return cluster[0]


@pytest.fixture
def path(cluster: tuple[StandIn, str]) -> str:
    return cluster[1]


def deployer_at(path: str, **said: Any) -> KubernetesDeployer:
    return KubernetesDeployer(**{"kubeconfig": path, "image": IMAGE, **said})


def settled(deployer: KubernetesDeployer, plan: Plan) -> Standing:
    """How it stands as soon as nothing is being done for it."""
    eventually(lambda: deployer.state(plan.deployment_id).held)
    return deployer.state(plan.deployment_id)


def kinds(there: StandIn) -> list[str]:
    return sorted(kind for _, kind, _ in there.objects)


def test_it_comes_up_is_changed_and_goes(there: StandIn, path: str) -> None:
    deployer, plan = deployer_at(path), plan_of()
    assert deployer.state(plan.deployment_id).state is DeploymentState.ABSENT
    deployer.apply(plan)
    assert deployer.state(plan.deployment_id).state is DeploymentState.PENDING
    found = settled(deployer, plan)
    assert (found.state, found.revision) == (DeploymentState.PENDING, 1)
    there.roll_out()
    found = deployer.state(plan.deployment_id)
    assert (found.state, found.url) == (DeploymentState.RUNNING, f"http://{name_of(plan)}.default.svc")
    assert kinds(there) == ["Deployment", "PersistentVolumeClaim", "Secret", "Service"]

    following = replace(plan, revision=2, auth=True)
    deployer.apply(following)
    assert deployer.state(plan.deployment_id).url == found.url
    found = settled(deployer, following)
    assert (found.state, found.revision) == (DeploymentState.PENDING, 2)
    assert len(there.of("Secret")) == 2  # pods of the revision before may still have to start
    there.roll_out()
    eventually(
        lambda: deployer.state(plan.deployment_id).state is DeploymentState.RUNNING and len(there.of("Secret")) == 1
    )

    there.pod("p-1", phase="Running")
    deployer.remove(plan.deployment_id)
    assert kinds(there) == ["PersistentVolumeClaim", "Pod"]
    assert deployer.state(plan.deployment_id).state is DeploymentState.PENDING
    deployer.remove(plan.deployment_id)
    there.objects.pop(("v1", "Pod", "p-1"))
    deployer.remove(plan.deployment_id)  # whoever asks for this does not know yet that nothing runs
    assert kinds(there) == ["PersistentVolumeClaim"]
    assert deployer.state(plan.deployment_id).state is DeploymentState.ABSENT
    deployer.remove(plan.deployment_id)
    assert kinds(there) == []


def test_the_same_plan_again_changes_nothing_and_finds_what_there_is(there: StandIn, path: str) -> None:
    plan = plan_of()
    deployer_at(path).apply(plan)
    eventually(lambda: there.of("Deployment"))
    there.roll_out()
    other = deployer_at(path)
    assert other.state(plan.deployment_id).state is DeploymentState.RUNNING
    before = json.dumps(there.of("Secret"))
    other.apply(replace(plan, token="another"))
    assert settled(other, plan).state is DeploymentState.RUNNING
    assert json.dumps(there.of("Secret")) == before
    assert there.of("Deployment")[0]["metadata"]["generation"] == 1


def test_what_a_revision_no_longer_has_goes_when_it_serves_and_not_before(there: StandIn, path: str) -> None:
    plan = plan_of(auth=True)
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}, "rules": []}
    deployer_at(path, ingress={"host": "x.example"}, extra_resources=[MORE, role]).apply(plan)
    eventually(lambda: there.of("Deployment"))
    there.roll_out()
    there.put({**MORE, "metadata": {"name": "somebody's", "labels": {}}})
    assert "namespace" in there.of("Ingress")[0]["metadata"]
    assert "namespace" not in there.of("ClusterRole")[0]["metadata"]
    assert there.of("ConfigMap")[0]["metadata"]["namespace"] == "default"

    following = replace(plan, revision=2)
    deployer = deployer_at(path)
    deployer.apply(following)
    assert settled(deployer, following).state is DeploymentState.PENDING
    assert there.of("Ingress")
    there.roll_out()
    gone = ("Ingress", "ClusterRole")
    eventually(lambda: deployer.state(plan.deployment_id) and not any(there.of(kind) for kind in gone))
    eventually(lambda: [one["metadata"]["name"] for one in there.of("ConfigMap")] == ["somebody's"])
    deployer.remove(plan.deployment_id)
    assert kinds(there) == ["ConfigMap", "PersistentVolumeClaim"]


def test_a_deployment_that_is_in_order_costs_three_questions_a_look(there: StandIn, path: str) -> None:
    deployer, plan = deployer_at(path), plan_of()
    deployer.apply(plan)
    settled(deployer, plan)
    there.roll_out()
    assert deployer.state(plan.deployment_id).state is DeploymentState.RUNNING
    there.asked.clear()
    assert deployer.state(plan.deployment_id).state is DeploymentState.RUNNING
    assert [asked.rpartition("/")[2] for _, asked in there.asked] == ["deployments", "pods", name_of(plan)]


def test_what_is_somebody_elses_is_left_alone(there: StandIn, path: str) -> None:
    there.put({**MORE, "metadata": {"name": "more", "labels": {DEPLOYMENT: "another"}}})
    deployer, plan = deployer_at(path, extra_resources=[MORE]), plan_of()
    deployer.apply(plan)
    found = eventually(lambda: (one := deployer.state(plan.deployment_id)).state is DeploymentState.ERROR and one)
    assert "There is a ConfigMap named 'more'" in str(found.reason)
    assert there.of("ConfigMap")[0]["metadata"]["labels"] == {DEPLOYMENT: "another"}
    assert kinds(there) == ["ConfigMap"]
    deployer.remove(plan.deployment_id)
    assert deployer.state(plan.deployment_id).state is DeploymentState.ABSENT


def test_what_the_cluster_refuses_is_told(there: StandIn, path: str) -> None:
    there.refuse["Deployment"] = (422, 'Deployment.apps "train" is invalid: spec.template.spec.tolerations[0]: bad')
    deployer, plan = deployer_at(path), plan_of()
    deployer.apply(plan)
    found = eventually(lambda: (one := deployer.state(plan.deployment_id)).state is DeploymentState.ERROR and one)
    assert "tolerations[0]: bad" in str(found.reason)
    unknown = {"apiVersion": "keda.example/v1", "kind": "ScaledObject", "metadata": {"name": "s"}}
    deployer = deployer_at(path, extra_resources=[unknown])
    deployer.apply(plan)
    found = eventually(lambda: (one := deployer.state(plan.deployment_id)).state is DeploymentState.ERROR and one)
    assert "The cluster knows no ScaledObject of keda.example/v1" in str(found.reason)


def test_a_server_that_is_late_does_not_go_back(there: StandIn, path: str) -> None:
    plan = plan_of()
    late, first = deployer_at(path), deployer_at(path)
    first.apply(replace(plan, revision=2))
    eventually(lambda: there.of("Deployment"))
    late.apply(plan)
    assert settled(late, plan).revision == 2


def test_what_another_server_applies_at_the_same_time_is_not_overwritten(
    there: StandIn, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of()
    late, first = deployer_at(path), deployer_at(path)
    late.apply(plan)
    settled(late, plan)
    apply = kubernetes_cluster.Cluster.apply
    once = iter([None])

    def meanwhile(cluster: Any, manifest: Any, *given: Any) -> Any:
        if manifest["kind"] == "Deployment" and cluster is late._cluster:
            for _ in once:
                first.apply(replace(plan, revision=3))
                settled(first, plan)
        return apply(cluster, manifest, *given)

    monkeypatch.setattr(kubernetes_cluster.Cluster, "apply", meanwhile)
    late.apply(replace(plan, revision=2))
    assert settled(late, plan).revision == 3


def test_what_a_role_must_let_it_do_and_a_namespace_that_is_not_there_are_told(there: StandIn, path: str) -> None:
    who = 'ingresses.networking.k8s.io "t" is forbidden: User "penstock" cannot patch resource "ingresses" in API group'
    there.refuse["Ingress"] = (403, f'{who} "networking.k8s.io" in the namespace "default"')
    deployer, plan = deployer_at(path, ingress={}), plan_of(auth=True)
    deployer.apply(plan)
    found = eventually(lambda: (one := deployer.state(plan.deployment_id)).state is DeploymentState.ERROR and one)
    assert str(found.reason).endswith(
        "Give it a role in namespace 'default' that lets it get, list, create, patch and delete ingresses.networking.k8s.io."
    )
    there.refuse["Ingress"] = (404, 'namespaces "default" not found')
    deployer = deployer_at(path, ingress={})
    deployer.apply(plan)
    found = eventually(lambda: (one := deployer.state(plan.deployment_id)).state is DeploymentState.ERROR and one)
    told = "There is no namespace 'default' in the cluster. Make it (kubectl create namespace default), or say `create_namespace`."
    assert found.reason == told


def test_a_namespace_is_made_once_and_stays(there: StandIn, path: str) -> None:
    plan = plan_of()
    for _ in range(2):
        deployer = deployer_at(path, namespace="ml", create_namespace=True)
        deployer.apply(plan)
        settled(deployer, plan)
    assert there.asked.count(("PATCH", "/api/v1/namespaces/ml")) == 1
    deployer.remove(plan.deployment_id)
    assert [one["metadata"]["name"] for one in there.of("Namespace")] == ["ml"]


PULL = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}}
CRASH = {
    "restartCount": 3,
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
    "lastState": {"terminated": {"exitCode": 1, "message": "one\ntwo\nthe service does not come up: no model\n"}},
}
AGAIN = {**CRASH, "restartCount": 1, "ready": False, "state": {"running": {}}}
MEMORY = {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
UNSCHEDULED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available",
}


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        ({"containerStatuses": [PULL]}, "error", 'ImagePullBackOff: Back-off pulling image "x"'),
        ({"containerStatuses": [CRASH]}, "error", "again.\none\ntwo\nthe service does not come up: no model"),
        ({"containerStatuses": [AGAIN]}, "pending", "with status 1.\none\ntwo\nthe service does not come up: no model"),
        ({"containerStatuses": [MEMORY]}, "error", "for want of memory."),
        ({"conditions": [UNSCHEDULED]}, "pending", "No machine takes its pod: 0/3 nodes are available"),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}, "error", "low on disk"),
    ],
)
def test_why_a_pod_does_not_serve_is_told(
    there: StandIn, path: str, status: dict[str, Any], state: str, words: str
) -> None:
    deployer, plan = deployer_at(path), plan_of()
    deployer.apply(plan)
    settled(deployer, plan)
    there.pod("p-1", **status)
    found = deployer.state(plan.deployment_id)
    assert (found.state, words in str(found.reason)) == (state, True), found


def test_a_quota_and_a_time_that_is_over_are_told(there: StandIn, path: str) -> None:
    deployer, plan = deployer_at(path), plan_of()
    deployer.apply(plan)
    settled(deployer, plan)
    (one,) = there.of("Deployment")
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: cpu"}
    one["status"] = {"observedGeneration": 1, "conditions": [failure]}
    found = deployer.state(plan.deployment_id)
    assert (found.state, found.reason) == ("error", "Pods are refused: exceeded quota: cpu")
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    one["status"] = {"observedGeneration": 1, "conditions": [late]}
    assert "not ready in time" in str(deployer.state(plan.deployment_id).reason)


@pytest.mark.parametrize(
    ("said", "status", "url"),
    [
        ({"ingress": {"host": "x.example", "tls_secret": "t"}}, {}, "https://x.example"),
        ({"ingress": {}}, {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}, "http://10.0.0.9"),
        ({"ingress": {}}, {}, None),
        (
            {"service_type": "LoadBalancer"},
            {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}},
            "http://lb.example",
        ),
        ({"service_type": "LoadBalancer"}, {}, None),
        ({"service_type": "NodePort", "node_port": 30080}, {}, "http://10.0.0.7:30080"),
        ({"service_port": 8080}, {}, "http://{name}.default.svc:8080"),
    ],
)
def test_where_it_is_asked(
    there: StandIn, path: str, said: dict[str, Any], status: dict[str, Any], url: str | None
) -> None:
    deployer, plan = deployer_at(path, **said), plan_of(auth=True)
    deployer.apply(plan)
    settled(deployer, plan)
    for one in (*there.of("Service"), *there.of("Ingress")):
        one["status"] = status
    there.pod("p-1", hostIP="10.0.0.7")
    there.roll_out()
    found = deployer.state(plan.deployment_id)
    assert found.state is DeploymentState.RUNNING
    assert found.url == (url and url.format(name=name_of(plan)))
    assert str(found.inner_url).startswith(f"http://{name_of(plan)}.default.svc")


def test_logs_are_those_of_all_pods_by_time_and_of_those_that_crashed(there: StandIn, path: str) -> None:
    deployer, plan = deployer_at(path, replicas=2), plan_of(settings=SINGLE)
    assert deployer.logs(plan.deployment_id, 10) == []
    deployer.apply(plan)
    settled(deployer, plan)
    there.pod("t-aaaaa", containerStatuses=[{"restartCount": 1}])
    there.printed["t-aaaaa", True] = "2026-01-01T00:00:01Z crashed\n"
    there.printed["t-aaaaa", False] = "2026-01-01T00:00:03Z up again\n"
    assert deployer.logs(plan.deployment_id, 10) == ["crashed", "up again"]
    there.pod("t-bbbbb")
    there.printed["t-bbbbb", False] = "2026-01-01T00:00:02Z from the other\n"
    assert deployer.logs(plan.deployment_id, 2) == ["[bbbbb] from the other", "[aaaaa] up again"]


def test_a_cluster_that_is_away_is_unknown_and_asked_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:  # nobody listens here
        held.bind(("127.0.0.1", 0))
        deployer, plan = deployer_at(kubeconfig(tmp_path, f"http://127.0.0.1:{held.getsockname()[1]}")), plan_of()
        found = deployer.state(plan.deployment_id)
        assert (found.state, "does not answer" in str(found.reason)) == (DeploymentState.UNKNOWN, True)
        called = []
        monkeypatch.setattr(kubernetes_cluster.Cluster, "find", lambda *given: called.append(given) or [])
        assert deployer.state(plan.deployment_id).state is DeploymentState.UNKNOWN
        assert not called
        deployer.apply(plan)
        eventually(lambda: deployer.state(plan.deployment_id).reason == found.reason)
        assert deployer.state(plan.deployment_id).state is DeploymentState.UNKNOWN
        deployer.remove(plan.deployment_id)
        with pytest.raises(Unavailable):
            deployer._cluster.get(("v1", "Secret", "s"), "default")


def test_a_cluster_that_says_nothing_costs_its_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_cluster, "PATIENCE", (0.2, 0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        deployer = deployer_at(kubeconfig(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}"))
        found = deployer.state("x")
    assert found.state is DeploymentState.UNKNOWN
    assert str(found.reason).startswith("The cluster does not answer (Read timed out.")


def test_a_cluster_that_nobody_names_is_told(tmp_path: Path) -> None:
    found = deployer_at(str(tmp_path / "nowhere")).state("x")
    assert found.state is DeploymentState.UNKNOWN
    assert "There is no way to a cluster" in str(found.reason)
    with stand_in(tmp_path) as (_, path):
        assert "wrong" in str(deployer_at(path, context="wrong").state("x").reason)


class Builder:
    """An image builder that does as it is told."""

    go, error = threading.Event(), ""

    def build(self, image: Any, registry: Any, say: Any) -> str:
        say("step 1")
        assert self.go.wait(30)
        if self.error:
            raise EnvironmentFailed(self.error, lines=("pip said no",))
        return str(registry.reference(image.repository, "t"))


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Builder]]:
    Builder.go.clear()
    Builder.error = ""
    monkeypatch.setattr(
        registry, "find", lambda kind, flavor, find=registry.find: Builder if flavor == "made" else find(kind, flavor)
    )
    yield Builder
    Builder.go.set()


def test_an_image_is_built_behind_the_answer(there: StandIn, path: str, builder: type[Builder]) -> None:
    plan = plan_of(image_builder=Component(flavor="made"))
    with pytest.raises(InvalidInput) as caught:
        KubernetesDeployer(kubeconfig=path).apply(plan)
    assert caught.value.errors[0]["pointer"] == "/deployer/options/registry"
    deployer = KubernetesDeployer(kubeconfig=path, registry="registry.example/team")
    deployer.apply(plan)
    eventually(lambda: deployer.state(plan.deployment_id).reason == "building the image: step 1")
    assert (deployer.state(plan.deployment_id).held, deployer.logs(plan.deployment_id, 5)) == (False, ["step 1"])
    builder.go.set()
    settled(deployer, plan)
    (container,) = there.of("Deployment")[0]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/team/penstock-p:t"


def test_a_build_that_fails_is_told_and_one_that_nobody_wants_is_not_deployed(
    there: StandIn, path: str, builder: type[Builder]
) -> None:
    plan = plan_of(image_builder=Component(flavor="made"))
    deployer = KubernetesDeployer(kubeconfig=path, registry="registry.example/team")
    deployer.apply(plan)
    deployer.remove(plan.deployment_id)
    builder.go.set()
    assert settled(deployer, plan).state is DeploymentState.ABSENT
    assert kinds(there) == []
    builder.error = "The image could not be built."
    deployer.apply(plan)
    found = eventually(lambda: (one := deployer.state(plan.deployment_id)).state is DeploymentState.ERROR and one)
    assert found.reason == "The image could not be built.\npip said no"


def test_options_of_the_image_builder_are_checked_at_once(path: str) -> None:
    with pytest.raises(InvalidInput):
        KubernetesDeployer(kubeconfig=path, image_builder={"base_imag": "x"})


def test_manifests_are_shown_without_credentials_and_nothing_is_asked(there: StandIn, path: str) -> None:
    shown = deployer_at(path).manifests(plan_of())
    assert [one["kind"] for one in shown] == ["Secret", "PersistentVolumeClaim", "Service", "Deployment"]
    assert "hush-hush" not in json.dumps(shown)
    assert there.asked == []
