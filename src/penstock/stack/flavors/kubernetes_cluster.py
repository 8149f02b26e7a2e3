"""A cluster, as the deployer sees it: objects of whatever kind, asked for and applied over HTTP, each call within its time."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from penstock.errors import Conflict, Forbidden, InvalidInput, NotFound, PenstockError, Unavailable, fault
from penstock.stack.flavors.kubernetes_access import Access, Silent

PATIENCE = (5.0, 15.0)
"""Seconds that a connection may take, and an answer."""

REST = 10.0
"""Seconds, at least, for which a cluster that did not answer is not asked again how it stands: there may be many to ask for."""

MANAGER = "penstock"
"""What the cluster notes as the owner of the fields that we set."""

_KINDS = {400: InvalidInput, 401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict, 422: InvalidInput}

_DENIED = re.compile(
    r'cannot \w+ resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_NO_NAMESPACE = re.compile(r'namespaces "([^"]*)" not found')
_OF_CERTIFICATES = re.compile(r"\[SSL: \w+\] (.+?) \(_ssl")

Object = dict[str, Any]


class Cluster:
    """One cluster, found by a kubeconfig, or the one around this process. Safe to use from several threads."""

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self._access = Access(kubeconfig, context)
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}
        self._away: tuple[float, str] | None = None
        self._lock = threading.Lock()

    @property
    def away(self) -> str | None:
        """Why it did not answer, if it did not when it was asked last."""
        away = self._away
        return away[1] if away is not None else None

    def check(self) -> None:
        """Raises `Unavailable` if that was just now: whoever has others to look after does not ask again so soon."""
        away = self._away
        if away is not None and time.monotonic() < away[0]:
            raise Unavailable(away[1])

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

    def apply(self, manifest: Mapping[str, Any], namespace: str, manager: str = MANAGER) -> Object:
        """Have it be so. Fields that nobody has said anything of stay as they are; those of ours we take back from others.

        A field that Kubernetes does not know is refused. Raises `Conflict` if the manifest has a `resourceVersion`, and what is
        there has another one by now.
        """
        version, kind, name = manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]
        if self._kind(version, kind)[1]:
            manifest = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
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
        status, data, client = self._answer(method, path, query or {}, body, kind)
        if status == 401 and self._access.forget(client):  # what lets us in may have been exchanged
            status, data, _ = self._answer(method, path, query or {}, body, kind)
        if not 200 <= status < 300:
            raise _refused(status, data)
        return data

    def _answer(
        self, method: str, path: str, query: Mapping[str, str], body: Object | None, kind: str
    ) -> tuple[int, bytes, Any]:
        with self._heard():
            client = self._access.client()
            headers = {"Accept": "application/json, */*", "User-Agent": MANAGER} | (
                {"Content-Type": kind} if kind else {}
            )
            request = client.param_serialize(
                method, path, query_params=list(query.items()), header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            response: Any = client.call_api(*request, _request_timeout=PATIENCE)
            return response.status, response.read(), client

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Errors of the way to the cluster as ours; and whether it is there."""
        begun = time.monotonic()
        try:
            yield
        except Silent as error:
            self._rest(begun, error.detail)
            raise
        except PenstockError:
            raise
        except Exception as error:
            if not _is_of_the_way(error):
                raise
            reason = f"The cluster does not answer ({_short(error)})."
            self._rest(begun, reason)
            raise Unavailable(reason) from error
        self._away = None

    def _rest(self, begun: float, reason: str) -> None:
        """Whoever asks looks after other clusters, too: one that is away takes a fifth of the time at most."""
        now = time.monotonic()
        self._away = (now + max(REST, 4 * (now - begun)), reason)


def _is_of_the_way(error: Exception) -> bool:
    import urllib3  # optional, like all of it
    from kubernetes.client import ApiException

    return isinstance(error, urllib3.exceptions.HTTPError | OSError | ApiException)  # the last one: of certificates


def _root(version: str) -> str:
    return f"/apis/{quote(version)}" if "/" in version else f"/api/{quote(version)}"


def _refused(status: int, data: bytes) -> PenstockError:
    """What the cluster says, as an error of ours, with what can be done. What may pass by itself is `Unavailable`."""
    try:
        told = str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        told = data[:500].decode(errors="replace") or "no reason given"
    told, advice = told.rstrip("."), ""
    if status == 401:
        advice = " It does not know who asks: renew the credentials of the kubeconfig."
    elif status == 403 and (denied := _DENIED.search(told)):
        advice = f" {_to_grant(denied['resource'], denied['group'], denied['namespace'])}"
    elif status == 404 and (absent := _NO_NAMESPACE.fullmatch(told)):
        told = f"There is no namespace '{absent[1]}' in the cluster"
        return NotFound(f"{told}. Make it (kubectl create namespace {absent[1]}), or say `create_namespace`.")
    return _KINDS.get(status, Unavailable)(f"The cluster refused ({status}): {told}.{advice}")


def _to_grant(resource: str, group: str, namespace: str | None) -> str:
    name = f"{resource}.{group}" if group else resource
    verbs = "get and list" if resource.startswith("pods") else "get, list, create, patch and delete"
    role = f"a role in namespace '{namespace}'" if namespace else "a cluster role"
    return f"Give it {role} that lets it {verbs} {name}."


def _short(error: BaseException) -> str:
    """The innermost reason, without the objects that it went through."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException) and reason is not error:
        return _short(reason)
    if certificate := _OF_CERTIFICATES.search(str(error)):
        return certificate[1]
    return str(error).rpartition(": ")[2].strip(" .\n") or type(error).__name__
