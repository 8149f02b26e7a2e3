"""The way to a cluster, and who we are there: from a kubeconfig, or from what is around this process."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import Unavailable

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

PLUG_IN = 15.0
"""Seconds that a credential plug-in may take. Most need one or two."""

YOUNG = 10.0
"""Seconds for which credentials that were refused are not asked for again: others would be refused, too."""


class Silent(Unavailable):
    """Nobody has said anything in time. It may cost as much time again."""


@dataclass(frozen=True)
class Pass:
    """A client that may enter, as long as its credentials hold."""

    client: ApiClient
    made: datetime
    until: datetime | None

    @property
    def holds(self) -> bool:
        """Whether it has not run out."""
        return self.until is None or datetime.now(UTC) < self.until


class Access:
    """The way to one cluster. Safe to use from several threads: what one of them finds, or fails to, all have that wait."""

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self._said = (kubeconfig, context)
        self._lock = threading.Lock()
        self._pass: Pass | None = None
        self._making: Future[Pass] | None = None

    def client(self) -> ApiClient:
        """The client of the cluster. It is made when it is needed first, and again when its credentials have run out.

        Raises `Unavailable` if there is no library, no cluster is said anywhere, or a plug-in gives no credentials; `Silent` if
        that has not answered in time.
        """
        with self._lock:
            if self._pass is not None and self._pass.holds:
                return self._pass.client
            making, mine = self._making, self._making is None
            if making is None:
                making = self._making = Future()
        if mine:
            self._make(making)
        return making.result().client

    def forget(self, client: ApiClient) -> bool:
        """Let go of a client that was refused, unless it is new; whether another one may be let in."""
        with self._lock:
            known = self._pass
            if known is None or known.client is not client:
                return True
            if (datetime.now(UTC) - known.made).total_seconds() < YOUNG:
                return False
            self._pass = None
            return True

    def _make(self, making: Future[Pass]) -> None:
        try:
            made = _pass(*self._said)
        except BaseException as error:  # noqa: BLE001  # whatever it is, those that wait are told
            with self._lock:
                self._making = None
            making.set_exception(error)
            return
        with self._lock:
            self._pass, self._making = made, None
        making.set_result(made)


def _pass(kubeconfig: str | None, context: str | None) -> Pass:
    try:
        from kubernetes import client  # optional: `penstock[kubernetes]`
    except ImportError as error:
        raise Unavailable(
            "The deployer `kubernetes` needs the client of Kubernetes: pip install 'penstock[kubernetes]'."
        ) from error
    configuration = client.Configuration()
    until = None
    try:
        if kubeconfig or context or _has_kubeconfig():
            until = _read_kubeconfig(kubeconfig or _default(), context, configuration)
        else:
            config: Any = import_module("kubernetes.config")
            config.load_incluster_config(configuration)
    except Unavailable:
        raise
    except Exception as error:  # what is wrong in a kubeconfig may be raised as anything
        told = str(error).rpartition(": ")[2].rstrip(".") or type(error).__name__
        raise Unavailable(
            f"There is no way to a cluster: {told}. Say `kubeconfig` and `context`, or set KUBECONFIG for the server."
        ) from error
    configuration.retries = False
    return Pass(client.ApiClient(configuration), datetime.now(UTC), until)


def _default() -> str:
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def _has_kubeconfig() -> bool:
    return any(Path(one).expanduser().exists() for one in _default().split(os.pathsep) if one)


def _read_kubeconfig(paths: str, context: str | None, configuration: Any) -> datetime | None:
    """Take up what the kubeconfig says; the moment at which its credentials run out, if it is known.

    Its credential plug-in is called by us. The library would wait for it for ever, let it ask at the server's terminal, and go
    on as nobody where it fails.
    """
    library: Any = import_module("kubernetes.config.kube_config")
    found = library.KubeConfigMerger(paths).config
    if found is None:
        raise FileNotFoundError(f"there is no kubeconfig at {paths}")
    name = context or found["current-context"]
    about = found["contexts"].get_with_name(name)["context"]
    users = found["users"]
    user = users.get_with_name(about["user"]).safe_get("user") if about.safe_get("user") else None
    until = None
    if user and user.get("exec") and not {"token", "tokenFile", "auth-provider"} & set(user):
        cluster = found["clusters"].get_with_name(about["cluster"])
        folder = Path(users.get_with_name(about["user"]).path or ".").absolute().parent
        credentials = _asked(user.pop("exec"), cluster.safe_get("cluster") or {}, folder)
        until = _taken(credentials, user)
    library.KubeConfigLoader(found, active_context=name, config_base_path=None).load_and_set(configuration)
    return until


def _taken(credentials: Mapping[str, Any], user: dict[str, Any]) -> datetime | None:
    """Put credentials where those of a kubeconfig stand; the moment at which they run out."""
    if credentials.get("token"):
        user["token"] = credentials["token"]
    if credentials.get("clientCertificateData"):
        for ours, theirs in (
            ("client-certificate-data", "clientCertificateData"),
            ("client-key-data", "clientKeyData"),
        ):
            user[ours] = base64.b64encode(str(credentials[theirs]).encode()).decode()
    said = credentials.get("expirationTimestamp")
    return datetime.fromisoformat(str(said)) if said else None


def _asked(plug_in: Mapping[str, Any], cluster: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a credential plug-in answers, in the form `ExecCredential` of Kubernetes. Nobody is there whom it could ask."""
    command = str(plug_in["command"])
    name = f"The credential plug-in `{Path(command).name}` of the kubeconfig"
    spec: dict[str, Any] = {"interactive": False}
    if plug_in.get("provideClusterInfo"):
        spec["cluster"] = _cluster_info(cluster)
    asked = {"apiVersion": plug_in["apiVersion"], "kind": "ExecCredential", "spec": spec}
    variables = {str(one["name"]): str(one["value"]) for one in plug_in.get("env") or ()}
    environment = {**os.environ, **variables, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
    arguments = [command, *map(str, plug_in.get("args") or ())]
    try:
        status, told, complaint = _run(arguments, environment, folder)
    except subprocess.TimeoutExpired:
        raise Silent(
            f"{name} has not answered within {PLUG_IN:g} seconds, and was stopped. It may be waiting for somebody to log in: "
            "call it by hand, as the user of the server, and see."
        ) from None
    except OSError as error:
        hint = str(plug_in.get("installHint") or "Install it where the server runs.").strip()
        raise Unavailable(f"{name} cannot be called ({error.strerror or error}). {hint}") from error
    if status != 0:
        said = (complaint.strip() or told.strip() or "it says nothing").splitlines()[-1]
        raise Unavailable(f"{name} has failed with status {status}: {said.rstrip('.')}.")
    try:
        credentials = json.loads(told)["status"]
        if credentials.get("token") or (credentials["clientCertificateData"] and credentials["clientKeyData"]):
            return dict(credentials)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise Unavailable(f"{name} has given no credentials: expected an ExecCredential with a token or a certificate.")


def _run(arguments: list[str], environment: dict[str, str], folder: Path) -> tuple[int, str, str]:
    """Status, output and complaints of a command. Raises `TimeoutExpired`; nothing of it goes on then."""
    with subprocess.Popen(
        arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            told, complaint = process.communicate(timeout=PLUG_IN)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, told, complaint


def _cluster_info(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """The cluster, as plug-ins are told of it."""
    names = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
    info = {name: cluster[name] for name in names if name in cluster}
    for one in cluster.get("extensions") or ():
        if one.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = one.get("extension")
    return info
