"""What a cluster is told: each option is seen in it, whatever is rendered fits the schemas of Kubernetes, and secrets stay in the Secret."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import fields, replace
from typing import Any

import kubernetes_validate
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.model.deployment import Plan, Seat
from penstock.model.deployment_settings import DeploymentSettings, EndpointSpec
from penstock.model.reading import read
from penstock.model.snapshot import Content
from penstock.model.stack import Component
from penstock.stack.flavors.kubernetes_manifests import DEPLOYMENT, PLACEHOLDER, lodged, manifests, name_of
from penstock.stack.flavors.kubernetes_options import Options
from tests.clusters import SINGLE, check, plan_of

IMAGE = "registry.example/team/penstock-p@sha256:" + "0" * 64
Rendered = dict[str, dict[str, Any]]


def options(**said: Any) -> Options:
    return read(Options, said, what="What is said", at=("deployer", "options"))


def rendered(plan: Plan | None = None, **said: Any) -> Rendered:
    """By kind. Everything that is rendered here is held against the schemas."""
    made = options(**said)
    found = manifests(lodged(plan or plan_of(), made), made, IMAGE)
    for one in found:
        if not one["apiVersion"].endswith("example/v1"):
            check(one)
    return {one["kind"]: one for one in found}


def pod(made: Rendered) -> dict[str, Any]:
    found: dict[str, Any] = made["Deployment"]["spec"]["template"]["spec"]
    return found


def container(made: Rendered) -> dict[str, Any]:
    found: dict[str, Any] = pod(made)["containers"][0]
    return found


def refused(plan: Plan | None = None, **said: Any) -> list[str]:
    """The places of all mistakes."""
    with pytest.raises(InvalidInput) as caught:
        rendered(plan, **said)
    return [one["pointer"] for one in caught.value.errors]


def test_what_is_said_by_default() -> None:
    plan = plan_of("My Träin_2!", revision=3)
    made = rendered(plan)
    assert list(made) == ["Secret", "PersistentVolumeClaim", "Service", "Deployment"]
    for one in made.values():
        assert kubernetes_validate.validate(one, "1.37", strict=True) == "1.37"
        assert one["metadata"]["labels"][DEPLOYMENT] == plan.deployment_id
        assert one["metadata"]["annotations"]["penstock/name"] == "My Träin_2!"
        assert one["metadata"]["annotations"]["penstock/revision"] == "3"
    spec = made["Deployment"]["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}}
    assert container(made)["image"] == IMAGE
    assert container(made)["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    assert container(made)["livenessProbe"]["httpGet"] == {"path": "/health", "port": "http"}
    assert container(made)["startupProbe"]["failureThreshold"] == 301
    assert container(made)["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert container(made)["securityContext"]["readOnlyRootFilesystem"]
    assert pod(made)["securityContext"]["runAsNonRoot"]
    assert (
        pod(made)["terminationGracePeriodSeconds"] == 70
    )  # 5 to hear of it, 30 to drain, 5 of grace, 30 of the keeper's
    assert not pod(made)["automountServiceAccountToken"]
    assert made["Service"]["spec"]["selector"] == spec["selector"]["matchLabels"] == {DEPLOYMENT: plan.deployment_id}


def test_the_plan_is_in_the_secret_and_its_token_nowhere_else() -> None:
    plan = plan_of()
    made = rendered(plan)
    within = msgspec.json.decode(base64.b64decode(made["Secret"]["data"]["plan.json"]), type=Plan)
    assert (within.token, within.host, within.port, within.home) == ("hush-hush", "0.0.0.0", 8000, "/var/lib/penstock")
    others = json.dumps([one for kind, one in made.items() if kind != "Secret"])
    assert "hush-hush" not in others
    assert within.archive == ""
    mounts = {one["mountPath"]: one for one in container(made)["volumeMounts"]}
    assert mounts["/etc/penstock"]["readOnly"]
    assert set(mounts) == {"/etc/penstock", "/var/lib/penstock", "/var/lib/penstock/state", "/tmp"}
    shown = manifests(lodged(plan, options()), options(), IMAGE, secrets=False)
    assert base64.b64decode(shown[0]["data"]["plan.json"]).decode() == PLACEHOLDER
    assert "hush-hush" not in json.dumps(shown)


def test_another_plan_rolls_and_has_a_secret_of_its_own_but_another_token_changes_nothing() -> None:
    plan = plan_of()
    first, same = rendered(plan), rendered(replace(plan, token="another"))
    assert first["Deployment"] == same["Deployment"]
    assert first["Secret"]["metadata"] == same["Secret"]["metadata"]
    other = rendered(replace(plan, auth=True))
    assert other["Deployment"]["spec"]["template"] != first["Deployment"]["spec"]["template"]
    assert other["Secret"]["metadata"]["name"] != first["Secret"]["metadata"]["name"]


SAID: dict[str, tuple[dict[str, Any], str]] = {
    "namespace": ({"namespace": "ml"}, '"namespace": "ml"'),
    "command": ({"command": ["python", "-m", "x"]}, '"command": ["python", "-m", "x"]'),
    "image_pull_policy": ({"image_pull_policy": "Always"}, '"imagePullPolicy": "Always"'),
    "image_pull_secrets": ({"image_pull_secrets": ["pull"]}, '"imagePullSecrets": [{"name": "pull"}]'),
    "replicas": ({"replicas": 3}, '"replicas": 3'),
    "resources": ({"resources": {"requests": {"cpu": "500m"}}}, '"resources": {"requests": {"cpu": "500m"}}'),
    "storage": ({"storage": "7Gi"}, '"requests": {"storage": "7Gi"}'),
    "storage_class": ({"storage": "1Gi", "storage_class": "fast"}, '"storageClassName": "fast"'),
    "storage_claim": ({"storage_claim": "mine"}, '"claimName": "mine"'),
    "environment": ({"environment": {"A": "b"}}, '{"name": "A", "value": "b"}'),
    "environment_from": ({"environment_from": ["keys"]}, '"envFrom": [{"secretRef": {"name": "keys"}}]'),
    "volumes": (
        {"volumes": [{"name": "m", "mount_path": "/m", "source": {"configMap": {"name": "c"}}, "sub_path": "s"}]},
        '{"name": "m", "mountPath": "/m", "readOnly": false, "subPath": "s"}',
    ),
    "labels": ({"labels": {"team": "a"}}, '"team": "a"'),
    "annotations": ({"annotations": {"example.com/a": "b"}}, '"example.com/a": "b"'),
    "pod_annotations": ({"pod_annotations": {"prometheus.io/scrape": "true"}}, '"prometheus.io/scrape": "true"'),
    "service_account": ({"service_account": "runner"}, '"automountServiceAccountToken": true'),
    "user": ({"user": 2000}, '"runAsUser": 2000'),
    "node_selector": ({"node_selector": {"gpu": "a100"}}, '"nodeSelector": {"gpu": "a100"}'),
    "tolerations": ({"tolerations": [{"key": "gpu", "operator": "Exists"}]}, '"tolerations": [{"key": "gpu"'),
    "affinity": (
        {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}},
        '"preferredDuringSchedulingIgnoredDuringExecution": []',
    ),
    "topology_spread_constraints": (
        {
            "topology_spread_constraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
            ]
        },
        '"topologyKey": "zone"',
    ),
    "priority_class": ({"priority_class": "high"}, '"priorityClassName": "high"'),
    "runtime_class": ({"runtime_class": "gvisor"}, '"runtimeClassName": "gvisor"'),
    "max_surge": ({"max_surge": 2}, '"maxSurge": 2'),
    "min_ready_seconds": ({"min_ready_seconds": 9}, '"minReadySeconds": 9'),
    "startup_timeout": ({"startup_timeout": 1000}, '"progressDeadlineSeconds": 1060'),
    "pre_stop": ({"pre_stop": 11}, '"sleep": {"seconds": 11}'),
    "readiness_probe": ({"readiness_probe": {"period": 7}}, '"periodSeconds": 7, "timeoutSeconds": 5'),
    "liveness_probe": ({"liveness_probe": {"failures": 9}}, '"failureThreshold": 9'),
    "service_type": ({"service_type": "LoadBalancer"}, '"type": "LoadBalancer"'),
    "service_port": ({"service_port": 8080}, '"port": 8080'),
    "node_port": ({"service_type": "NodePort", "node_port": 30080}, '"nodePort": 30080'),
    "service_annotations": ({"service_annotations": {"example.com/lb": "internal"}}, '"example.com/lb": "internal"'),
    "ingress": (
        {"ingress": {"host": "a.example", "class_name": "nginx", "tls_secret": "tls", "annotations": {"n/x": "y"}}},
        '"tls": [{"hosts": ["a.example"], "secretName": "tls"}]',
    ),
    "autoscaling": (
        {"autoscaling": {"max_replicas": 5, "cpu_percent": 70}, "resources": {"requests": {"cpu": "1"}}},
        '"maxReplicas": 5',
    ),
    "extra_resources": (
        {
            "extra_resources": [
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}, "data": {"a": "b"}}
            ]
        },
        '"data": {"a": "b"}',
    ),
}
"""Option -> what is said, and how it is seen."""

ELSEWHERE = {
    "context": "which cluster",
    "kubeconfig": "which cluster",
    "create_namespace": "the deployer's",
    "image": "the deployer's",
    "registry": "the deployer's",
    "image_builder": "the deployer's",
    "server_url": "in the plan",
    "tracking": "in the plan",
}


def test_every_option_is_tried() -> None:
    assert set(SAID) | set(ELSEWHERE) == {one.name for one in fields(Options)}


@pytest.mark.parametrize("name", SAID)
def test_an_option_is_seen(name: str) -> None:
    said, seen = SAID[name]
    plan = plan_of(settings=SINGLE, auth=True)
    assert seen in json.dumps(list(rendered(plan, **said).values()))
    if name not in ("replicas", "resources"):
        assert seen not in json.dumps(list(rendered(plan).values()))


def test_several_pods_have_a_budget_no_disk_and_none_is_counted_by_us_where_the_load_does() -> None:
    plan = plan_of(settings=SINGLE)
    made = rendered(plan, replicas=2)
    assert made["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert "PersistentVolumeClaim" not in made
    assert "affinity" not in pod(made)
    made = rendered(plan, autoscaling={"max_replicas": 4, "metrics": [{"type": "Pods", "pods": METRIC}]})
    assert "replicas" not in made["Deployment"]["spec"]
    assert made["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == name_of(plan)


METRIC = {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "10"}}


def test_pods_that_share_a_disk_share_a_machine() -> None:
    plan = plan_of()
    term = pod(rendered(plan))["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"] == {"matchLabels": {DEPLOYMENT: plan.deployment_id}}


def test_a_companion_takes_nothing_of_which_there_is_one() -> None:
    said = {
        "service_type": "NodePort",
        "node_port": 30080,
        "ingress": {"host": "x.example"},
        "storage_claim": "mine",
        "extra_resources": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}}],
        "environment": {"A": "b"},
    }
    seat = Seat(deployment_id="d", deployment_name="train", kind="canary")
    made = rendered(plan_of(seat=seat, auth=True, settings=SINGLE), **said)
    assert list(made) == ["Secret", "Service", "Deployment"]
    assert made["Service"]["spec"]["type"] == "ClusterIP"
    assert "nodePort" not in made["Service"]["spec"]["ports"][0]
    assert {"name": "A", "value": "b"} in container(made)["env"]


def test_paths_are_those_of_the_settings() -> None:
    settings = DeploymentSettings(root_url_path="/a", api_url_path="/b", health_url_path="/alive")
    made = rendered(plan_of(settings=settings, auth=True), ingress={"host": "x.example"})
    assert container(made)["readinessProbe"]["httpGet"]["path"] == "/a/b/ready"
    assert container(made)["livenessProbe"]["httpGet"]["path"] == "/a/b/alive"
    assert made["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["path"] == "/a"


def test_extra_resources_may_be_yaml_and_ask_for_names() -> None:
    text = """
apiVersion: monitoring.example/v1
kind: ServiceMonitor
metadata: {name: "${penstock.name}-monitor", labels: {release: prometheus}}
spec: {selector: {matchLabels: {penstock/deployment: "${penstock.deployment_id}"}}, namespace: "${penstock.namespace}"}
---
---
apiVersion: v1
kind: ConfigMap
metadata: {name: more}
data: {port: "${penstock.port}", image: "${penstock.image}"}
"""
    plan = plan_of()
    made = rendered(plan, extra_resources=text, namespace="ml")
    monitor = made["ServiceMonitor"]
    assert monitor["metadata"]["name"] == f"{name_of(plan)}-monitor"
    assert monitor["metadata"]["labels"][DEPLOYMENT] == plan.deployment_id
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"] == {
        "selector": {"matchLabels": {"penstock/deployment": plan.deployment_id}},
        "namespace": "ml",
    }
    assert made["ConfigMap"]["data"] == {"port": "80", "image": IMAGE}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"replics": 2}, "/replics"),
    ({"replicas": 0}, "/replicas"),
    ({"replicas": "2"}, "/replicas"),
    ({"namespace": "My_Space"}, "/namespace"),
    ({"image": "no such"}, "/image"),
    ({"image": "a", "registry": "b"}, "/registry"),
    ({"image_pull_policy": "Sometimes"}, "/image_pull_policy"),
    ({"image_pull_secrets": ["A"]}, "/image_pull_secrets/0"),
    ({"environment": {"a-b": "c"}}, "/environment/a-b"),
    ({"environment": {"A": 1}}, "/environment/A"),
    ({"volumes": [{"name": "v", "mount_path": "x", "source": {"emptyDir": {}}}]}, "/volumes/0/mount_path"),
    ({"volumes": [{"name": "v", "mount_path": "/x", "source": {}}]}, "/volumes/0/source"),
    ({"volumes": [{"name": "penstock-x", "mount_path": "/x", "source": {"emptyDir": {}}}]}, "/volumes/0/name"),
    ({"volumes": [{"name": "v", "mount_path": p, "source": {"emptyDir": {}}} for p in ("/x", "/y")]}, "/volumes"),
    ({"resources": {"requests": {"cpu": "lots"}}}, "/resources/requests/cpu"),
    ({"labels": {"penstock/x": "y"}}, "/labels/penstock~1x"),
    ({"labels": {"a": "b c"}}, "/labels/a"),
    ({"annotations": {"a b": "c"}}, "/annotations/a b"),
    ({"autoscaling": {"max_replicas": 3}}, "/autoscaling/cpu_percent"),
    ({"autoscaling": {"max_replicas": 3, "cpu_percent": 50}}, "/resources/requests/cpu"),
    ({"autoscaling": {"min_replicas": 4, "max_replicas": 3, "metrics": [{}]}}, "/autoscaling/max_replicas"),
    ({"autoscaling": {"max_replicas": 3, "metrics": [{}]}, "replicas": 2}, "/replicas"),
    ({"storage": "big"}, "/storage"),
    ({"storage": "1Gi", "storage_claim": "mine"}, "/storage"),
    ({"storage": "1Gi", "replicas": 2}, "/storage"),
    ({"service_type": "ExternalName"}, "/service_type"),
    ({"service_port": 0}, "/service_port"),
    ({"node_port": 30000}, "/node_port"),
    ({"max_surge": "0%"}, "/max_surge"),
    ({"max_surge": True}, "/max_surge"),
    ({"user": 0}, "/user"),
    ({"server_url": "ftp://x"}, "/server_url"),
    ({"server_url": "http://x", "tracking": False}, "/tracking"),
    ({"ingress": {"host": "a b"}}, "/ingress/host"),
    ({"ingress": {"path": "x"}}, "/ingress/path"),
    ({"readiness_probe": {"period": 0}}, "/readiness_probe/period"),
    ({"extra_resources": "a: [b"}, "/extra_resources"),
    ({"extra_resources": {"kind": "X"}}, "/extra_resources"),
    ({"extra_resources": [3]}, "/extra_resources/0"),
    ({"extra_resources": [{"kind": "X", "metadata": {"name": "x"}}]}, "/extra_resources/0/apiVersion"),
    ({"extra_resources": [{"apiVersion": "v1", "kind": "X"}]}, "/extra_resources/0/metadata/name"),
    (
        {"extra_resources": [{"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "namespace": "other"}}]},
        "/extra_resources/0/metadata/namespace",
    ),
    (
        {"extra_resources": [{"apiVersion": "v1", "kind": "X", "metadata": {"name": "${penstock.nmae}"}}]},
        "/extra_resources/0",
    ),
]


@pytest.mark.parametrize(("said", "place"), BAD, ids=[f"{number}{place}" for number, (_, place) in enumerate(BAD)])
def test_what_is_wrong_is_refused_with_its_place(said: dict[str, Any], place: str) -> None:
    assert refused(**said) == [f"/deployer/options{place}"]


def test_two_objects_of_one_name_are_refused() -> None:
    plan = plan_of()
    extra = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "${penstock.name}"}}
    assert refused(plan, extra_resources=[extra]) == ["/deployer/options/extra_resources"]


FILES = Component(flavor="file", options={"path": "/home/files"})


def test_what_could_not_work_in_a_pod_is_refused() -> None:
    assert refused(plan_of(server="unix:/run/penstock.sock")) == ["/deployer/options/server_url"]
    assert refused(plan_of(server="http://127.0.0.1:8000")) == ["/deployer/options/server_url"]
    assert refused(plan_of(), server_url="http://localhost:1") == ["/deployer/options/server_url"]
    assert refused(plan_of(settings=DeploymentSettings(auth="server"), auth=True), tracking=False) == [
        "/deployer/options/tracking"
    ]
    keeps = DeploymentSettings(keep_artifacts=True)
    assert refused(plan_of(settings=keeps, artifact_store=FILES)) == ["/settings/keep_artifacts"]
    assert refused(plan_of(), ingress={"host": "x.example"}) == ["/deployer/options/ingress"]
    assert refused(plan_of(), service_type="NodePort") == ["/deployer/options/service_type"]
    assert refused(plan_of(), replicas=2) == ["/settings/include_default_endpoints"]
    assert refused(plan_of(settings=DeploymentSettings(include_default_endpoints="INVOKE"))) == [
        "/settings/include_default_endpoints"
    ]
    asked = DeploymentSettings(custom_endpoints=(EndpointSpec(path="/ready", handler="m:f"),))
    assert refused(plan_of(settings=asked)) == ["/settings/custom_endpoints/0"]


def test_artifacts_and_secrets_in_files_of_the_server_are_not_seen_from_a_pod() -> None:
    def taking(**schema: Any) -> Plan:
        plan = plan_of(artifact_store=FILES, secret_store=FILES)
        content: Content = replace(plan.snapshot.content, parameter_schema={"properties": {"model": schema}})
        return replace(plan, snapshot=replace(plan.snapshot, content=content))

    assert refused(taking(format="artifact-reference")) == ["/snapshot"]
    secret = taking(format="secret-reference")
    assert refused(secret) == ["/deployer/options/environment_from"]
    assert rendered(secret, environment_from=["keys"])
    bucket = Component(flavor="object", options={"url": "s3://b"})
    plan = replace(taking(format="artifact-reference"), artifact_store=bucket)
    told = base64.b64decode(rendered(plan)["Secret"]["data"]["plan.json"])
    within = msgspec.json.decode(told, type=Plan)
    assert (within.artifact_store, within.secret_store) == (bucket, None)


def test_a_server_that_is_not_told_need_not_be_reached() -> None:
    told = rendered(plan_of(server="unix:/run/penstock.sock"), tracking=False)["Secret"]["data"]["plan.json"]
    assert msgspec.json.decode(base64.b64decode(told), type=Plan).server == ""


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs",)), max_size=30)
NAMES = st.from_regex(r"[A-Za-z0-9_](?:[A-Za-z0-9 ._+-]{0,126}[A-Za-z0-9_+-])?", fullmatch=True)
WORDS = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)


@given(
    NAMES,
    st.fixed_dictionaries(
        {},
        optional={
            "namespace": WORDS,
            "replicas": st.integers(1, 50),
            "labels": st.dictionaries(WORDS, WORDS, max_size=3),
            "annotations": st.dictionaries(WORDS, TEXTS, max_size=3),
            "environment": st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True), TEXTS, max_size=3),
            "image_pull_secrets": st.lists(WORDS, max_size=2),
            "node_selector": st.dictionaries(WORDS, WORDS, max_size=2),
            "max_surge": st.integers(1, 9) | st.integers(1, 100).map("{}%".format),
            "pre_stop": st.integers(0, 99),
            "startup_timeout": st.integers(1, 9999),
            "service_type": st.sampled_from(("ClusterIP", "NodePort", "LoadBalancer")),
            "service_port": st.integers(1, 65535),
            "ingress": st.fixed_dictionaries({}, optional={"host": WORDS, "tls_secret": WORDS, "class_name": WORDS}),
        },
    ),
    st.floats(0, 500),
)
def test_whatever_is_said_fits_the_schemas_and_names_are_names(name: str, said: dict[str, Any], drain: float) -> None:
    settings = replace(SINGLE, drain=drain)
    plan = plan_of(name, settings=settings, auth=True)
    for one in rendered(plan, **said).values():
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", one["metadata"]["name"])
        assert all(
            re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", v)
            for v in one["metadata"]["labels"].values()
        )


@given(NAMES, NAMES)
def test_no_two_deployments_have_names_alike(one: str, other: str) -> None:
    first, second = plan_of(one), plan_of(other)
    assert name_of(first) != name_of(second)
    assert name_of(first) == name_of(replace(first, revision=7, token="x"))
