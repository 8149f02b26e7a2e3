"""Clusters for tests: plans that are deployed there, the schemas of Kubernetes, and a stand-in for its API.

The stand-in is a server that speaks the true paths over HTTP: discovery, server-side apply, lists by label, deletion, logs. It
checks no schema, owns no fields and has no controllers: what becomes of Deployments and pods is said by the test. So it shows
what we ask for and what we make of the answers. That a cluster would take it is shown by the schemas alone.
"""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import referencing
from kubernetes_validate import utils as schemas

from penstock.ids import new_id
from penstock.model.deployment import Plan
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.snapshot import Content, Environment, Snapshot

Object = dict[str, Any]

VERSIONS = ("1.30", "1.37")
"""The oldest that has what we use, and the newest of which there are schemas."""

SINGLE = DeploymentSettings(include_default_endpoints=("INVOKE", "HEALTH", "INFO", "METRICS"))
"""Of a service that may have several pods: nothing is submitted to it."""

KINDS = {
    "v1": {
        "Namespace": "namespaces",
        "Secret": "secrets",
        "ConfigMap": "configmaps",
        "Service": "services",
        "Pod": "pods",
        "PersistentVolumeClaim": "persistentvolumeclaims",
    },
    "apps/v1": {"Deployment": "deployments"},
    "networking.k8s.io/v1": {"Ingress": "ingresses"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "rbac.authorization.k8s.io/v1": {"ClusterRole": "clusterroles"},
}
_EVERYWHERE = ("Namespace", "ClusterRole")


def plan_of(name: str = "train", **changes: Any) -> Plan:
    """A plan of a pipeline that asks for nothing in particular."""
    content = Content(pipeline="p", source="p:p", code="0" * 64, environment=Environment(python="3.11.2"))
    snapshot = Snapshot(id="s", pipeline_id="p", content=content, created=datetime.now(UTC))
    given: dict[str, Any] = {"deployment_id": new_id(), "deployment_name": name, "home": "/home", "snapshot": snapshot}
    return Plan(**{**given, "server": "http://penstock.example:8000", "token": "hush-hush", **changes})


def check(manifest: Object) -> None:
    """Hold an object against the strict schemas of Kubernetes, those of `kubernetes-validate --strict`."""
    for version in VERSIONS:
        _validator(version, manifest["apiVersion"], manifest["kind"]).validate(manifest)


@cache
def _validator(version: str, api: str, kind: str) -> jsonschema.protocols.Validator:
    group, _, number = api.rpartition("/")
    short = f"{group.partition('.')[0]}-{number}" if group else number
    folder = f"kubernetes-json-schema/v{_full(version)}-local-strict"
    schema = schemas.schema_contents(f"{folder}/{kind.lower()}-{short}.json", version)
    definitions = referencing.Resource.from_contents(_definitions(folder, version))
    registry = definitions @ (referencing.Resource.from_contents(schema) @ referencing.Registry())
    return jsonschema.validators.Draft202012Validator(schema, registry=registry)


@cache
def _definitions(folder: str, version: str) -> Any:
    return schemas.schema_contents(f"{folder}/_definitions.json", version)


def _full(version: str) -> str:
    return max(one for one in schemas.all_versions() if one.startswith(f"{version}."))


class StandIn:
    """The stand-in. `objects` is what it holds; `asked` is what it was asked, in order."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.asked: list[tuple[str, str]] = []
        self.refuse: dict[str, tuple[int, str]] = {}
        """Kind -> status and reason, where writing one is refused."""

        self.printed: dict[tuple[str, bool], str] = {}
        """Name of a pod, and whether it is the life before -> its log, with times."""

        self.token = "let-me-in"
        """Who does not show it is not let in."""

        self.lock = threading.Lock()
        self._versions = itertools.count(1)

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [one for (_, known, _), one in self.objects.items() if known == kind]

    def put(self, manifest: Object) -> Object:
        """Have an object be there, as somebody else would."""
        key = (manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"])
        known = self.objects.get(key, {"metadata": {"uid": str(uuid.uuid4()), "generation": 0}})
        same = known.get("spec") == manifest.get("spec")
        made = {
            **manifest,
            "metadata": {
                **manifest["metadata"],
                "uid": known["metadata"]["uid"],
                "generation": known["metadata"]["generation"] + (not same),
                "resourceVersion": str(next(self._versions)),
            },
        }
        self.objects[key] = {**made, "status": manifest.get("status", known.get("status", {}))}
        return self.objects[key]

    def roll_out(self) -> None:
        """Do what controllers do where all goes well: the Deployment has all its pods."""
        for one in self.of("Deployment"):
            wanted = one["spec"].get("replicas", 1)
            names = ("replicas", "updatedReplicas", "availableReplicas")
            one["status"] = {"observedGeneration": one["metadata"]["generation"], **dict.fromkeys(names, wanted)}

    def pod(self, name: str, **status: Any) -> Object:
        """Have there be a pod of the Deployment."""
        (deployment,) = self.of("Deployment")
        metadata = {**deployment["spec"]["template"]["metadata"], "name": name, "namespace": "default"}
        return self.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Object) -> tuple[int, Object | str]:
        """What it answers to a request."""
        self.asked.append((method, path))
        version, _, rest = (
            path.lstrip("/").partition("/")[2].partition("/") if path.startswith("/api/") else _split(path)
        )
        known = KINDS.get(version)
        if known is None:
            return 404, {"message": "the server could not find the requested resource"}
        if not rest:
            listed = [
                {"name": plural, "kind": kind, "namespaced": kind not in _EVERYWHERE} for kind, plural in known.items()
            ]
            return 200, {"resources": listed}
        parts = rest.split("/")
        parts = parts[2:] if parts[0] == "namespaces" and len(parts) > 2 else parts
        kind = next(one for one, plural in known.items() if plural == parts[0])
        if parts[2:] == ["log"]:
            told = self.printed.get((parts[1], query.get("previous") == "true"))
            return (200, told) if told is not None else (400, {"message": "previous terminated container not found"})
        return self._about(method, (version, kind, *parts[1:2]), query, body)

    def _about(self, method: str, key: tuple[str, ...], query: Mapping[str, str], body: Object) -> tuple[int, Object]:
        version, kind, *names = key
        if not names:
            label, _, value = query["labelSelector"].partition("=")
            found = [one for one in self.of(kind) if (one["metadata"].get("labels") or {}).get(label) == value]
            return 200, {"items": [{k: v for k, v in one.items() if k not in ("apiVersion", "kind")} for one in found]}
        place = (version, kind, names[0])
        if method == "PATCH":
            if kind in self.refuse:
                status, why = self.refuse[kind]
                return status, {"message": why}
            assert query["fieldManager"] == "penstock"
            said, known = body["metadata"].get("resourceVersion"), self.objects.get(place, {"metadata": {}})
            if said not in (None, known["metadata"].get("resourceVersion")):
                return 409, {"message": "the object has been modified"}
            return 200, self.put(body)
        if place not in self.objects:
            return 404, {"message": f'{kind} "{names[0]}" not found'}
        if method == "DELETE":
            if body["preconditions"]["uid"] != self.objects[place]["metadata"]["uid"]:
                return 409, {"message": "the UID in the precondition does not match"}
            return 200, self.objects.pop(place)
        return 200, self.objects[place]


def _split(path: str) -> tuple[str, str, str]:
    _, group, version, *rest = path.lstrip("/").split("/")
    return f"{group}/{version}", "/", "/".join(rest)


@contextmanager
def stand_in(tmp_path: Path) -> Iterator[tuple[StandIn, str]]:
    """The stand-in, and the kubeconfig that leads to it."""
    made = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with made.lock:
                if self.headers["Authorization"] == f"Bearer {made.token}":
                    status, told = made.answer(self.command, parts.path, query, json.loads(data) if data else {})
                else:
                    status, told = 401, {"message": "Unauthorized"}
            answer = told.encode() if isinstance(told, str) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PATCH = do_DELETE = _do  # noqa: N815  # names of the standard library

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made, kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(folder: Path, url: str, user: Object | None = None, **more: Any) -> str:
    """A kubeconfig for a cluster at this address; by default for one who has the token of the stand-in."""
    path = folder / "kubeconfig"
    told = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url, **more}}],
        "users": [{"name": "test", "user": user or {"token": "let-me-in"}}],
    }
    path.write_text(json.dumps(told))
    return str(path)
