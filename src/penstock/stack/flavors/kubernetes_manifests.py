"""The objects of a deployment, as Kubernetes is told of them: worked out from a plan and options; nothing is asked here."""

from __future__ import annotations

import base64
import ipaddress
import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import msgspec

from penstock.errors import InvalidInput, fault
from penstock.ids import digest_of
from penstock.model.artifact import is_reference
from penstock.model.container import HOME, PLAN, PORT, STATE
from penstock.model.deployment import Plan
from penstock.model.image import inside
from penstock.model.secret import used_in
from penstock.stack.flavors.kubernetes_options import MARK, Autoscaling, Ingress, Options, Probe, filled

DEPLOYMENT = f"{MARK}deployment"
"""The label of everything that belongs to a deployment, with its id: what does not have it is not ours."""

REVISION, CONTENT, OBJECTS, KINDS, NAME = (f"{MARK}{name}" for name in ("revision", "plan", "objects", "kinds", "name"))
"""Annotations. `OBJECTS` of the Deployment lists what belongs to its revision, `KINDS` all kinds that there may be."""

DEFAULT_STORAGE = "1Gi"
PLACEHOLDER = "<the plan of this deployment: Penstock puts it here>"
PLACEHOLDER_IMAGE = "image-that-penstock-builds"

_LONGEST = 40
"""Letters of the names of objects: pods add some, and labels hold 63."""

Manifest = dict[str, Any]


def name_of(plan: Plan) -> str:
    """What its objects are called. Names that come out alike have different ends, which are those of the ids."""
    words = re.sub(r"[^a-z0-9]+", "-", plan.deployment_name.lower()).strip("-")
    words = re.sub(r"^[^a-z]+", "", words)[: _LONGEST - 11].rstrip("-") or "deployment"
    return f"{words}-{digest_of(plan.deployment_id.encode())[:10]}"


def lodged(plan: Plan, options: Options) -> Plan:
    """The plan as pods get it. Raises `InvalidInput` for what could not work there, or would be wrong."""
    faults = [*_unreachable(plan, options), *_unseen(plan, options), *_unfit(plan, options)]
    if faults:
        raise InvalidInput("Pods could not serve this.", errors=faults)
    server = (options.server_url or plan.server) if options.tracking else ""
    stores = {
        kind: one
        for kind in ("artifact_store", "secret_store")
        if (one := getattr(plan, kind)) and one.flavor != "file"
    }
    return replace(
        inside(plan, server=server),
        image_builder=None,
        container_registry=None,
        artifact_store=stores.get("artifact_store"),
        secret_store=stores.get("secret_store"),
    )


def manifests(plan: Plan, options: Options, image: str, *, secrets: bool = True) -> list[Manifest]:
    """Everything that a revision consists of, in the order in which it is applied: the Deployment, which needs the rest, last.

    `plan` is one that `lodged` has made. Without `secrets` a placeholder stands where credentials would. Raises
    `InvalidInput` for objects that would be called alike.
    """
    if plan.seat is not None:  # a host, a port or a name that is said is that of the deployment that is asked
        options = options.inside
    made = [_secret(plan, options, secrets=secrets)]
    if (size := _size(plan, options)) is not None:
        made.append(_claim(plan, options, size))
    values = {"namespace": options.namespace, "deployment_id": plan.deployment_id, "port": str(options.service_port)}
    values |= {"name": name_of(plan), "image": image}
    made += [filled(one, values) for one in options.extra_resources]
    made.append(_service(plan, options))
    if options.ingress is not None:
        made.append(_ingress(plan, options, options.ingress))
    if options.several:
        made.append(_budget(plan, options))
    if options.autoscaling is not None:
        made.append(_scaler(plan, options, options.autoscaling))
    made.append(_deployment(plan, options, image))
    made = [_marked(one, plan, options) for one in made]
    keys = [key_of(one) for one in made]
    twice = sorted({" ".join(key) for key in keys if keys.count(key) > 1})
    if twice:
        mistakes = [fault("/deployer/options/extra_resources", f"There are two of {one}.") for one in twice]
        raise InvalidInput("Objects of a deployment have names of their own.", errors=mistakes)
    made[-1]["metadata"]["annotations"][OBJECTS] = json.dumps(keys)
    return made


def key_of(manifest: Mapping[str, Any]) -> tuple[str, str, str]:
    """What tells it from all other objects of its namespace."""
    return manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]


def content_of(plan: Plan) -> str:
    """What tells a plan from others. A token is another one each time, and as good."""
    return digest_of(msgspec.json.encode(replace(plan, token="")))[:16]


# What cannot be


def _unreachable(plan: Plan, options: Options) -> list[dict[str, Any]]:
    if not options.tracking:
        needed = plan.settings.auth == "server"
        return [fault("/deployer/options/tracking", "The service asks the server who may call.")] if needed else []
    server = options.server_url or plan.server
    if not server:
        return []
    at, next_step = (
        "/deployer/options/server_url",
        (
            "have the server listen where pods reach it (penstock up --host), and give that address; "
            "or say tracking: false, and requests are not recorded."
        ),
    )
    if server.startswith("unix:"):
        return [fault(at, f"Pods cannot come to this server's socket: {next_step}")]
    if _is_loopback(urlsplit(server).hostname or ""):
        return [fault(at, f"In a pod {server} is the pod itself: {next_step}")]
    return []


def _unseen(plan: Plan, options: Options) -> list[dict[str, Any]]:
    faults = []
    told = "in a folder of the server's machine, where no pod can see"
    content = plan.snapshot.content
    if plan.artifact_store is not None and plan.artifact_store.flavor == "file":
        advice = "Use an artifact store of flavor `object`."
        if plan.settings.keep_artifacts:
            faults.append(fault("/settings/keep_artifacts", f"Artifacts would be kept {told} them. {advice}"))
        taken = [name for name, one in content.parameter_schema.get("properties", {}).items() if is_reference(one)]
        faults += [
            fault("/snapshot", f"Parameter '{name}' is an artifact, which is {told} it. {advice}") for name in taken
        ]
    hidden = plan.secret_store is not None and plan.secret_store.flavor == "file" and not _gives_secrets(options)
    if hidden and used_in(msgspec.json.encode(content).decode()):
        told = f"The pipeline uses secrets, which are {told} them."
        advice = (
            "Give pods the values, as PENSTOCK_SECRET_<NAME>__<KEY> in a Secret of the namespace that is named here."
        )
        faults.append(fault("/deployer/options/environment_from", f"{told} {advice}"))
    return faults


def _gives_secrets(options: Options) -> bool:
    return bool(options.environment_from) or any(name.startswith("PENSTOCK_SECRET_") for name in options.environment)


def _unfit(plan: Plan, options: Options) -> list[dict[str, Any]]:
    settings, faults = plan.settings, []
    if options.open and not plan.auth:
        told = "Callers need no key here, and others than the cluster's own pods could call: make it a key first."
        faults.append(fault("/deployer/options/" + ("ingress" if options.ingress else "service_type"), told))
    if "HEALTH" not in settings.include_default_endpoints:
        faults.append(
            fault("/settings/include_default_endpoints", "Kubernetes asks /health and /ready: HEALTH is needed.")
        )
    probed = {settings.path("health"), _ready(plan)}
    faults += [
        fault(f"/settings/custom_endpoints/{number}", "Kubernetes asks here, and has no key.")
        for number, one in enumerate(settings.custom_endpoints)
        if one.path in probed and one.method == "GET" and one.auth_required
    ]
    if options.several and "SUBMIT" in settings.include_default_endpoints:
        told = (
            "Submitted requests are kept on one pod's disk, and others do not know of them: "
            "leave SUBMIT out, or have one replica."
        )
        faults.append(fault("/settings/include_default_endpoints", told))
    return faults


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# The objects


def _marked(manifest: Manifest, plan: Plan, options: Options) -> Manifest:
    """The same with our labels and annotations. What it says of itself goes before what the options say of all."""
    own = manifest["metadata"]
    ours = {
        "app.kubernetes.io/name": name_of(plan),
        "app.kubernetes.io/managed-by": "penstock",
    }
    metadata = {
        **own,
        "labels": {**ours, **options.labels, **(own.get("labels") or {}), DEPLOYMENT: plan.deployment_id},
        "annotations": {
            **options.annotations,
            **(own.get("annotations") or {}),
            NAME: plan.deployment_name,
            REVISION: str(plan.revision),
        },
    }
    return {**manifest, "metadata": metadata}


def _head(kind: str, plan: Plan, options: Options, version: str = "v1") -> Manifest:
    metadata = {"name": name_of(plan), "namespace": options.namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _secret(plan: Plan, options: Options, *, secrets: bool) -> Manifest:
    """The plan, with its token. Each plan has its own, so that pods of the revision before do not take it for theirs."""
    text = msgspec.json.encode(plan) if secrets else PLACEHOLDER.encode()
    made = _head("Secret", plan, options)
    made["metadata"]["name"] = _secret_name(plan)
    data = {PurePosixPath(PLAN).name: base64.b64encode(text).decode()}
    return {**made, "type": "Opaque", "immutable": True, "data": data}


def _secret_name(plan: Plan) -> str:
    return f"{name_of(plan)}-{content_of(plan)}"


def _claim(plan: Plan, options: Options, size: str) -> Manifest:
    spec: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    said = {"storageClassName": options.storage_class} if options.storage_class is not None else {}
    return {**_head("PersistentVolumeClaim", plan, options), "spec": {**spec, **said}}


def _service(plan: Plan, options: Options) -> Manifest:
    port: Manifest = {"name": "http", "port": options.service_port, "targetPort": "http", "protocol": "TCP"}
    if options.node_port is not None:
        port["nodePort"] = options.node_port
    made = _head("Service", plan, options)
    made["metadata"]["annotations"] = dict(options.service_annotations)
    return {**made, "spec": {"type": options.service_type, "selector": _selected(plan), "ports": [port]}}


def _ingress(plan: Plan, options: Options, said: Ingress) -> Manifest:
    backend = {"service": {"name": name_of(plan), "port": {"name": "http"}}}
    path = said.path or plan.settings.root_url_path or "/"
    rule: Manifest = {"http": {"paths": [{"path": path, "pathType": said.path_type, "backend": backend}]}}
    if said.host is not None:
        rule["host"] = said.host
    spec: Manifest = {"rules": [rule]}
    if said.class_name is not None:
        spec["ingressClassName"] = said.class_name
    if said.tls_secret is not None:
        hosts = {"hosts": [said.host]} if said.host is not None else {}
        spec["tls"] = [{**hosts, "secretName": said.tls_secret}]
    made = _head("Ingress", plan, options, "networking.k8s.io/v1")
    made["metadata"]["annotations"] = dict(said.annotations)
    return {**made, "spec": spec}


def _budget(plan: Plan, options: Options) -> Manifest:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": _selected(plan)}}
    return {**_head("PodDisruptionBudget", plan, options, "policy/v1"), "spec": spec}


def _scaler(plan: Plan, options: Options, said: Autoscaling) -> Manifest:
    shares = {"cpu": said.cpu_percent, "memory": said.memory_percent}
    metrics = [
        {"type": "Resource", "resource": {"name": kind, "target": {"type": "Utilization", "averageUtilization": share}}}
        for kind, share in shares.items()
        if share is not None
    ]
    spec: Manifest = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name_of(plan)},
        "minReplicas": said.min_replicas,
        "maxReplicas": said.max_replicas,
        "metrics": [*metrics, *said.metrics],
    }
    if said.behavior:
        spec["behavior"] = said.behavior
    return {**_head("HorizontalPodAutoscaler", plan, options, "autoscaling/v2"), "spec": spec}


def _deployment(plan: Plan, options: Options, image: str) -> Manifest:
    template = {
        "metadata": {
            "labels": {**options.labels, **_selected(plan), "app.kubernetes.io/name": name_of(plan)},
            "annotations": {**options.pod_annotations, CONTENT: content_of(plan), REVISION: str(plan.revision)},
        },
        "spec": _pod(plan, options, image),
    }
    spec: Manifest = {
        "selector": {"matchLabels": _selected(plan)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": options.max_surge}},
        "minReadySeconds": options.min_ready_seconds,
        "progressDeadlineSeconds": options.startup_timeout + options.min_ready_seconds + 60,
        "revisionHistoryLimit": 2,
        "template": template,
    }
    if options.autoscaling is None:  # else how many there are is not ours to say
        spec["replicas"] = options.replicas
    return {**_head("Deployment", plan, options, "apps/v1"), "spec": spec}


def _pod(plan: Plan, options: Options, image: str) -> Manifest:
    disks, mounts = _disks(plan, options)
    leaving = math.ceil(options.pre_stop + plan.settings.drain + plan.grace + 30)
    pod: Manifest = {
        "containers": [_container(plan, options, image, mounts)],
        "volumes": disks,
        "terminationGracePeriodSeconds": leaving,
        "automountServiceAccountToken": options.service_account is not None,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": options.user,
            "runAsGroup": options.user,
            "fsGroup": options.user,  # so that it may read its plan, and write on its disk
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    said = {
        "serviceAccountName": options.service_account,
        "imagePullSecrets": [{"name": one} for one in options.image_pull_secrets],
        "nodeSelector": options.node_selector,
        "tolerations": list(options.tolerations),
        "affinity": _affinity(plan, options),
        "topologySpreadConstraints": list(options.topology_spread_constraints),
        "priorityClassName": options.priority_class,
        "runtimeClassName": options.runtime_class,
    }
    return pod | {name: value for name, value in said.items() if value}


def _container(plan: Plan, options: Options, image: str, mounts: list[Manifest]) -> Manifest:
    variables = {"HOME": HOME, "PENSTOCK_HOME": HOME, "PYTHONUNBUFFERED": "1", **options.environment}
    ready = _asked(_ready(plan))
    container: Manifest = {
        "name": "service",
        "image": image,
        "args": ["--give-up"],  # to start it again, and to say why it does not start, is the cluster's part
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "volumeMounts": mounts,
        "startupProbe": {
            **ready,
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": options.startup_timeout // 2 + 1,
        },
        "readinessProbe": {**ready, **_often(options.readiness_probe)},
        "livenessProbe": {**_asked(plan.settings.path("health")), **_often(options.liveness_probe)},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    asked = {"requests": options.resources.requests, "limits": options.resources.limits}
    said = {
        "command": list(options.command),
        "imagePullPolicy": options.image_pull_policy,
        "envFrom": [{"secretRef": {"name": one}} for one in options.environment_from],
        "resources": {name: value for name, value in asked.items() if value},
        "lifecycle": {"preStop": {"sleep": {"seconds": options.pre_stop}}} if options.pre_stop else None,
    }
    return container | {name: value for name, value in said.items() if value}


def _disks(plan: Plan, options: Options) -> tuple[list[Manifest], list[Manifest]]:
    """The volumes of a pod, and where its container has them. All that is written goes to one of them."""
    secret = {"secretName": _secret_name(plan), "defaultMode": 0o440}
    disks: list[Manifest] = [
        {"name": "penstock-plan", "secret": secret},
        {"name": "penstock-home", "emptyDir": {}},
        {"name": "penstock-tmp", "emptyDir": {}},
    ]
    mounts: list[Manifest] = [
        {"name": "penstock-plan", "mountPath": str(PurePosixPath(PLAN).parent), "readOnly": True},
        {"name": "penstock-home", "mountPath": HOME},
        {"name": "penstock-tmp", "mountPath": "/tmp"},  # noqa: S108  # the container's own
    ]
    if _keeps(plan, options):
        claim = options.storage_claim or name_of(plan)
        disks.append({"name": "penstock-state", "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": "penstock-state", "mountPath": STATE})
    for one in options.volumes:
        disks.append({"name": one.name, **one.source})
        sub_path = {"subPath": one.sub_path} if one.sub_path is not None else {}
        mounts.append({"name": one.name, "mountPath": one.mount_path, "readOnly": one.read_only, **sub_path})
    return disks, mounts


def _size(plan: Plan, options: Options) -> str | None:
    """How large a disk is to be made; None: there is to be none, or there is one."""
    if options.several or options.storage_claim is not None:
        return None
    return options.storage or (DEFAULT_STORAGE if "SUBMIT" in plan.settings.include_default_endpoints else None)


def _keeps(plan: Plan, options: Options) -> bool:
    return options.storage_claim is not None or _size(plan, options) is not None


def _affinity(plan: Plan, options: Options) -> Manifest:
    """As it is said, and, where there is a disk, where the pods before are: only pods of one machine can share it."""
    if not _keeps(plan, options):
        return options.affinity
    term = {"labelSelector": {"matchLabels": _selected(plan)}, "topologyKey": "kubernetes.io/hostname"}
    pods = dict(options.affinity.get("podAffinity") or {})
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    pods[required] = [*(pods.get(required) or ()), term]
    return {**options.affinity, "podAffinity": pods}


def _selected(plan: Plan) -> dict[str, str]:
    return {DEPLOYMENT: plan.deployment_id}


def _ready(plan: Plan) -> str:
    return f"{plan.settings.root_url_path}{plan.settings.api_url_path}/ready"


def _asked(path: str) -> Manifest:
    return {"httpGet": {"path": path, "port": "http"}}


def _often(said: Probe) -> Manifest:
    return {"periodSeconds": said.period, "timeoutSeconds": said.timeout, "failureThreshold": said.failures}
