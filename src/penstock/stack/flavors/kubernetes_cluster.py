"""A cluster, as the deployer sees it: objects of whatever kind, asked for and applied over HTTP, each call within its time."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from penstock.errors import Conflict, Forbidden, InvalidInput, NotFound, PenstockError, Unavailable, fault

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

PATIENCE = (5.0, 15.0)
"""Seconds that a connection may take, and an answer."""

REST = 10.0
"""Seconds for which a cluster that did not answer is not asked again how it stands: there may be many to ask for."""

MANAGER = "penstock"
"""What the cluster notes as the owner of the fields that we set."""

_KINDS = {400: InvalidInput, 401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict, 422: InvalidInput}

Object = dict[str, Any]


class Cluster:
    """One cluster, found by a kubeconfig, or the one around this process. Safe to use from several threads."""

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self._said = (kubeconfig, context)
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}
        self._away: tuple[float, str] | None = None
        self._lock = threading.Lock()

    @property
    def away(self) -> str | None:
        """Why it did not answer, if it did not when it was asked last."""
        away = self._away
        return away[1] if away is not None else None

    @property
    def resting(self) -> bool:
        """Whether that was just now: it is better not to ask again."""
        away = self._away
        return away is not None and time.monotonic() < away[0]

    def get(self, key: tuple[str, str, str], namespace: str) -> Object | None:
        """The object; None if there is none."""
        version, kind, name = key
        try:
            return self._json("GET", self._path(version, kind, namespace, name))
        except NotFound:
            return None

    def find(self, version: str, kind: str, namespace: str, labels: str) -> list[Object]:
        """All objects of a kind with these labels; none of a kind that the cluster does not know (any more)."""
        try:
            path = self._path(version, kind, namespace)
        except InvalidInput:
            return []
        found = self._json("GET", path, {"labelSelector": labels}).get("items") or ()
        return [{**one, "apiVersion": version, "kind": kind} for one in found]  # in a list they do not say it

    def apply(self, manifest: Mapping[str, Any], namespace: str) -> Object:
        """Have it be so. Fields that nobody has said anything of stay as they are; those of ours we take back from others."""
        version, kind, name = manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]
        if self._kind(version, kind)[1]:
            manifest = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
        query = {"fieldManager": MANAGER, "force": "true"}
        path = self._path(version, kind, namespace, name)
        return self._json("PATCH", path, query, dict(manifest), "application/apply-patch+yaml")

    def delete(self, key: tuple[str, str, str], namespace: str, uid: str) -> None:
        """Remove it, if it is still that one."""
        version, kind, name = key
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            self._json("DELETE", self._path(version, kind, namespace, name), {}, body, "application/json")
        except (NotFound, Conflict):  # it is gone, or another one has taken its place
            return

    def logs(self, namespace: str, pod: str, tail: int, *, previous: bool = False) -> list[str]:
        """The last lines of a pod, each with its time before it; none while there are none."""
        query = {"tailLines": str(tail), "timestamps": "true", "container": "service"}
        if previous:
            query["previous"] = "true"
        try:
            data = self._call("GET", f"/api/v1/namespaces/{namespace}/pods/{quote(pod)}/log", query)
        except (InvalidInput, NotFound):  # it has not begun, or there is none before it
            return []
        return data.decode(errors="replace").splitlines()

    # The way there

    def _path(self, version: str, kind: str, namespace: str, name: str | None = None) -> str:
        plural, namespaced = self._kind(version, kind)
        place = f"/namespaces/{namespace}" if namespaced else ""
        return f"{_root(version)}{place}/{plural}" + (f"/{quote(name)}" if name is not None else "")

    def _kind(self, version: str, kind: str) -> tuple[str, bool]:
        """What a kind is called in paths, and whether its objects are in namespaces."""
        with self._lock:
            if (version, kind) in self._kinds:
                return self._kinds[version, kind]
        try:
            served = self._json("GET", _root(version))["resources"]
        except NotFound:
            served = ()
        known = {one["kind"]: (one["name"], bool(one["namespaced"])) for one in served if "/" not in one["name"]}
        if kind not in known:
            told = f"The cluster knows no {kind} of {version}: has what brings it been installed there?"
            mistake = fault("/deployer/options/extra_resources", told, allowed=sorted(known), given=kind)
            raise InvalidInput("The cluster cannot have this.", errors=[mistake])
        with self._lock:
            self._kinds |= {(version, one): found for one, found in known.items()}
            return self._kinds[version, kind]

    def _json(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Object | None = None, kind: str = ""
    ) -> Object:
        found: Object = json.loads(self._call(method, path, query, body, kind))
        return found

    def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Object | None = None, kind: str = ""
    ) -> bytes:
        with self._told():
            client = self._client
            headers = {"Accept": "application/json, */*", "User-Agent": MANAGER} | (
                {"Content-Type": kind} if kind else {}
            )
            request = client.param_serialize(
                method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            response: Any = client.call_api(*request, _request_timeout=PATIENCE)
            data: bytes = response.read()
        if not 200 <= response.status < 300:
            raise _refused(response.status, data)
        return data

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the way to the cluster as ours; and whether it is there."""
        import urllib3  # optional, like all of it

        try:
            yield
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = f"The cluster does not answer ({_short(error)})."
            self._away = (time.monotonic() + REST, reason)
            raise Unavailable(reason) from error
        self._away = None

    @cached_property
    def _client(self) -> ApiClient:
        """Raises `Unavailable` if there is no library, or no cluster is said anywhere."""
        try:
            from kubernetes import client  # optional: `penstock[kubernetes]`
        except ImportError as error:
            raise Unavailable(
                "The deployer `kubernetes` needs the client of Kubernetes: pip install 'penstock[kubernetes]'."
            ) from error
        config: Any = import_module("kubernetes.config")
        kubeconfig, context = self._said
        configuration = client.Configuration()
        try:
            if kubeconfig or context or _has_kubeconfig():
                path = str(Path(kubeconfig).expanduser()) if kubeconfig else None
                config.load_kube_config(path, context, configuration, persist_config=False)
            else:
                config.load_incluster_config(configuration)
        except Exception as error:  # a credential plug-in may raise anything
            raise Unavailable(
                f"There is no way to a cluster: {_short(error)}. Say `kubeconfig` and `context`, or set KUBECONFIG for the server."
            ) from error
        configuration.retries = False
        return client.ApiClient(configuration)


def _has_kubeconfig() -> bool:
    said = os.environ.get("KUBECONFIG", "~/.kube/config")
    return any(Path(one).expanduser().exists() for one in said.split(os.pathsep) if one)


def _root(version: str) -> str:
    return f"/apis/{quote(version)}" if "/" in version else f"/api/{quote(version)}"


def _refused(status: int, data: bytes) -> PenstockError:
    """What the cluster says, as an error of ours. What may pass by itself is `Unavailable`."""
    try:
        told = str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        told = data[:500].decode(errors="replace") or "no reason given"
    return _KINDS.get(status, Unavailable)(f"The cluster refused ({status}): {told.rstrip('.')}.")


def _short(error: BaseException) -> str:
    """The innermost reason, without the objects that it went through."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException) and reason is not error:
        return _short(reason)
    return str(error).rpartition(": ")[2].rstrip(".") or type(error).__name__
