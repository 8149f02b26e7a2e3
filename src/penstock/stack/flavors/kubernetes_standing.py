"""How a deployment stands, and where it is, read from the objects of its cluster; nothing is asked here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from penstock.model.deployment import DeploymentState, Standing
from penstock.stack.flavors.kubernetes_manifests import CONTENT, REVISION

Object = Mapping[str, Any]

_HOPELESS = {
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
}
"""Why a container waits for somebody to do something. What waits for anything else comes up by itself."""

_LINES = 3


def standing(deployment: Object | None, pods: Iterable[Object]) -> Standing:
    """How it stands; where it is asked is another question."""
    if deployment is None:
        return Standing(state=DeploymentState.PENDING if list(pods) else DeploymentState.ABSENT)
    annotations = deployment["metadata"].get("annotations") or {}
    revision = int(annotations[REVISION]) if annotations.get(REVISION, "").isdigit() else None
    if deployment["metadata"].get("deletionTimestamp"):
        return Standing(state=DeploymentState.PENDING, revision=revision, reason="it is going")
    if complete(deployment):
        return Standing(state=DeploymentState.RUNNING, revision=revision)
    content = _annotations(deployment["spec"]["template"]).get(CONTENT)
    state, reason = _waiting(deployment, [one for one in pods if _annotations(one).get(CONTENT) == content])
    return Standing(state=state, revision=revision, reason=reason)


def complete(deployment: Object) -> bool:
    """Whether what was applied last serves, in as many pods as are wanted, and nothing else does."""
    status = deployment.get("status") or {}
    wanted = deployment["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and updated >= wanted
        and status.get("replicas", 0) <= updated
        and status.get("availableReplicas", 0) >= updated
    )


def _waiting(deployment: Object, pods: list[Object]) -> tuple[DeploymentState, str | None]:
    """What keeps it from being complete. The pods know most, if there are any."""
    conditions = {one["type"]: one for one in (deployment.get("status") or {}).get("conditions") or ()}
    troubles = [found for one in pods if (found := trouble(one)) is not None]
    hopeless = [reason for reason, lasting in troubles if lasting]
    if hopeless:
        return DeploymentState.ERROR, hopeless[0]
    current = (deployment.get("status") or {}).get("observedGeneration", 0) >= deployment["metadata"].get(
        "generation", 0
    )
    failure = conditions.get("ReplicaFailure")
    if current and failure is not None and failure["status"] == "True":
        return DeploymentState.ERROR, f"Pods are refused: {failure.get('message') or failure.get('reason')}"
    why = troubles[0][0] if troubles else None
    progress = conditions.get("Progressing")
    if current and progress is not None and progress.get("reason") == "ProgressDeadlineExceeded":
        return DeploymentState.ERROR, why or "It was not ready in time: its log may say why."
    return DeploymentState.PENDING, why


def trouble(pod: Object) -> tuple[str, bool] | None:
    """Why this pod does not serve, if that is plain, and whether somebody has to do something about it."""
    status = pod.get("status") or {}
    for one in status.get("conditions") or ():
        if one["type"] == "PodScheduled" and one["status"] == "False" and one.get("message"):
            return f"No machine takes its pod: {one['message']}", False
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _HOPELESS:
            return _told(one, waiting), True
        ended = (one.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            return _ended(one, ended), True
        before = (one.get("lastState") or {}).get("terminated") or {}
        if before.get("exitCode") and not one.get("ready"):  # it was started again, and may come up now
            return _ended(one, before), False
    if status.get("phase") == "Failed":
        return f"Its pod failed: {status.get('message') or status.get('reason') or 'no reason given'}", True
    return None


def url(service: Object | None, ingress: Object | None, pods: Iterable[Object]) -> str | None:
    """Where it is asked, from outside if that is possible; None as long as nobody can say."""
    if ingress is not None:
        return _ingress_url(ingress)
    if service is None:
        return None
    spec = service["spec"]
    port = spec["ports"][0]
    if spec["type"] == "LoadBalancer":
        host = _balanced(service)
        return None if host is None else _url("http", host, port["port"])
    if spec["type"] == "NodePort":
        node = next((one["status"]["hostIP"] for one in pods if (one.get("status") or {}).get("hostIP")), None)
        return None if node is None or "nodePort" not in port else _url("http", node, port["nodePort"])
    return inner_url(service)


def inner_url(service: Object | None) -> str | None:
    """Where pods of the cluster ask it, wherever it is asked from outside."""
    if service is None:
        return None
    metadata = service["metadata"]
    return _url("http", f"{metadata['name']}.{metadata['namespace']}.svc", service["spec"]["ports"][0]["port"])


def _ingress_url(ingress: Object) -> str | None:
    spec = ingress["spec"]
    host = spec["rules"][0].get("host") or _balanced(ingress)
    return None if host is None or host.startswith("*") else _url("https" if spec.get("tls") else "http", host, None)


def _balanced(thing: Object) -> str | None:
    points = ((thing.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return next((one.get("hostname") or one.get("ip") for one in points), None)


def _url(scheme: str, host: str, port: int | None) -> str:
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port in (None, {"http": 80, "https": 443}[scheme]) else f"{scheme}://{host}:{port}"


def _told(container: Object, waiting: Object) -> str:
    if waiting["reason"] == "CrashLoopBackOff":
        return _ended(container, (container.get("lastState") or {}).get("terminated") or {})
    message = waiting.get("message")
    return f"{waiting['reason']}: {message}" if message else str(waiting["reason"])


def _ended(container: Object, terminated: Object) -> str:
    """How a container has ended, and what it has said last."""
    for_memory = terminated.get("reason") == "OOMKilled"
    how = "for want of memory" if for_memory else f"with status {terminated.get('exitCode')}"
    again = ", again and again" if container.get("restartCount", 0) > 1 else ""
    lines = [line for line in (terminated.get("message") or "").splitlines() if line.strip()][-_LINES:]
    return "\n".join([f"Its container ended {how}{again}.", *lines])


def _annotations(thing: Object) -> Mapping[str, str]:
    return (thing.get("metadata") or {}).get("annotations") or {}


def listed(deployment: Object, name: str) -> list[tuple[str, ...]]:
    """What one of its annotations lists; nothing if somebody has broken it."""
    try:
        return [tuple(map(str, one)) for one in json.loads(_annotations(deployment).get(name, "[]"))]
    except (ValueError, TypeError):
        return []
