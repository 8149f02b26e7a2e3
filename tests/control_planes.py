"""A real control plane of Kubernetes: one that is there, or one of our own; and a stand-in for its machines.

Where `KUBEBUILDER_ASSETS` names a folder with `kube-apiserver` and `kube-controller-manager` (and `etcd`, or there is one on the
path), a private one is started, which lasts as long as the tests. Where `PENSTOCK_TEST_KUBECONFIG` names a kubeconfig, that cluster
is taken, with its own machines, in namespaces of their own. What asks for one skips otherwise, with a warning.
"""

from __future__ import annotations

import atexit
import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from kubernetes import config

from tests.launching import eventually
from tests.ports import new_port
from tests.skipping import skip_loudly

Object = dict[str, Any]

# Taken before the first test: each begins without the variables of who runs it.
_BINARIES, _FOREIGN = os.environ.get("KUBEBUILDER_ASSETS"), os.environ.get("PENSTOCK_TEST_KUBECONFIG")

_CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "persistentvolumeclaim-protection-controller",
    "disruption-controller",
    "horizontal-pod-autoscaler-controller",
    "resourcequota-controller",
)
MACHINE = "machine-of-the-tests"


@dataclass(frozen=True)
class Answer:
    """What a cluster has answered; `warned` is what it holds to be unwise."""

    status: int
    body: Object
    warned: list[str]


class Api:
    """A cluster's API, as the test speaks with it: somebody with all rights."""

    def __init__(self, kubeconfig: str) -> None:
        self.kubeconfig = kubeconfig
        self._client = config.new_client_from_config(kubeconfig)
        self._client.configuration.retries = False

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json", **query: str) -> Answer:
        """Whatever it answers."""
        headers = {"Content-Type": kind, "Accept": "application/json"}
        request = self._client.param_serialize(
            method, path + (f"?{urlencode(query)}" if query else ""), header_params=headers, body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        answer: Any = self._client.call_api(*request, _request_timeout=(5, 30))
        told = json.loads(answer.read() or b"{}")
        return Answer(answer.status, told, answer.response.headers.getlist("Warning"))

    def do(self, method: str, path: str, body: Any = None, kind: str = "application/json", **query: str) -> Object:
        """What it answers, if it does."""
        answer = self.ask(method, path, body, kind, **query)
        assert 200 <= answer.status < 300, (method, path, answer)
        return answer.body

    def list(self, path: str, **query: str) -> list[Object]:
        """All objects there."""
        return list(self.do("GET", path, **query)["items"])

    def merge(self, path: str, body: Object) -> Object:
        """Change fields of an object."""
        return self.do("PATCH", path, body, "application/merge-patch+json")


class ControlPlane:
    """Ours: etcd, the API server and the controllers, on ports of their own, in a directory that goes with them."""

    def __init__(self, binaries: str) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="pk-plane-"))
        self._binaries = binaries
        self._etcd, self._peer, self._port = new_port(), new_port(), new_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"https://127.0.0.1:{self._port}"
        self._authority = _Authority()
        self._write_certificates()
        self.kubeconfig = self.write_kubeconfig("admin", self._authority.user("admin", "system:masters"))
        self._api = Api(self.kubeconfig)

    def start(self) -> None:
        """Start all of it, and wait until the API server is ready."""
        self._start_etcd()
        self.start_api()
        said = ["--controllers=" + ",".join(_CONTROLLERS), "--leader-elect=false", "--secure-port=0"]
        said += [f"--kubeconfig={self.kubeconfig}", f"--service-account-private-key-file={self.place}/tokens.key"]
        said += ["--horizontal-pod-autoscaler-sync-period=1s", "--concurrent-gc-syncs=2", "--kube-api-qps=200"]
        self._begin("kube-controller-manager", *said)

    def start_api(self) -> None:
        """Start the API server, and wait until it is ready."""
        place = self.place
        self._begin(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd}", f"--secure-port={self._port}", "--bind-address=127.0.0.1",
            f"--cert-dir={place}", f"--tls-cert-file={place}/api.crt", f"--tls-private-key-file={place}/api.key",
            f"--client-ca-file={place}/ca.crt", "--authorization-mode=Node,RBAC", "--service-cluster-ip-range=10.0.0.0/16",
            "--service-account-issuer=https://tests", f"--service-account-key-file={place}/tokens.pub",
            f"--service-account-signing-key-file={place}/tokens.key",
        )  # fmt: skip
        eventually(self._ready)

    def kill_api(self) -> None:
        """Have the API server be gone, as by kill -9."""
        process = self._processes.pop("kube-apiserver")
        process.kill()
        process.wait()

    def close(self) -> None:
        """End all of it."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    def write_kubeconfig(self, name: str, user: Object, folder: Path | None = None, **cluster: Any) -> str:
        """A kubeconfig for somebody."""
        path = (folder or self.place) / f"{name}.kubeconfig"
        trusted = base64.b64encode((self.place / "ca.crt").read_bytes()).decode()
        about = {"server": self.url, "certificate-authority-data": trusted, **cluster}
        told = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "clusters": [{"name": "test", "cluster": about}],
            "users": [{"name": name, "user": user}],
        }
        path.write_text(json.dumps(told))
        return str(path)

    def certificate_of(self, name: str) -> tuple[str, str]:
        """The files of a certificate for a server on this machine, and of its key."""
        files = (self.place / f"{name}.crt", self.place / f"{name}.key")
        for file, data in zip(files, self._authority.issue(name, addresses=("127.0.0.1",)), strict=True):
            file.write_bytes(data)
        return str(files[0]), str(files[1])

    def _start_etcd(self) -> None:
        mine, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._peer}"
        said = [f"--data-dir={self.place}/etcd", "--unsafe-no-fsync", f"--listen-client-urls={mine}"]
        said += [
            f"--advertise-client-urls={mine}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
        ]
        self._begin("etcd", *said, f"--initial-cluster=default={peer}")
        eventually(lambda: self._alive("etcd") and _answers(f"{mine}/health"))

    def _begin(self, name: str, *arguments: str) -> None:
        with (self.place / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [_binary(name, self._binaries), *arguments], stdout=log, stderr=log
            )

    def _alive(self, name: str) -> bool:
        told = (self.place / f"{name}.log").read_text(errors="replace")[-3000:]
        assert self._processes[name].poll() is None, told
        return True

    def _ready(self) -> bool:
        self._alive("kube-apiserver")
        with suppress(OSError, urllib3.exceptions.HTTPError):
            socket.create_connection(("127.0.0.1", self._port)).close()  # it listens: no handshake is begun before
            return self._api.ask("GET", "/api/v1/namespaces/default").status == 200  # made when it is ready
        return False

    def _write_certificates(self) -> None:
        place, tokens = self.place, rsa.generate_private_key(public_exponent=65537, key_size=2048)
        certificate, key = self._authority.issue("kube-apiserver", addresses=("127.0.0.1", "10.0.0.1"))
        public = tokens.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        written = {"ca.crt": _pem(self._authority.certificate), "api.crt": certificate, "api.key": key}
        for name, data in {**written, "tokens.key": _key_pem(tokens), "tokens.pub": public}.items():
            (place / name).write_bytes(data)


class _Authority:
    """Who issues certificates for our control plane."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
        made = _begun(self._name, self._key.public_key()).issuer_name(self._name)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate = made.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())

    def issue(self, name: str, group: str | None = None, addresses: tuple[str, ...] = ()) -> tuple[bytes, bytes]:
        """A certificate, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        about = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        about += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
        made = _begun(x509.Name(about), key.public_key()).issuer_name(self._name)
        names = [x509.IPAddress(ip_address(one)) for one in addresses]
        made = made.add_extension(x509.SubjectAlternativeName([*names, x509.DNSName("localhost")]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = made.add_extension(issuer, critical=False)
        return _pem(made.sign(self._key, hashes.SHA256())), _key_pem(key)

    def user(self, name: str, group: str) -> Object:
        """What a kubeconfig says of somebody who shows a certificate."""
        pair = (base64.b64encode(one).decode() for one in self.issue(name, group))
        return dict(zip(("client-certificate-data", "client-key-data"), pair, strict=True))


def _begun(name: x509.Name, key: Any) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).public_key(key).serial_number(x509.random_serial_number())
    return made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Any) -> bytes:
    data: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return data


def _binary(name: str, folder: str) -> str:
    path = Path(folder) / name
    return str(path) if path.exists() else shutil.which(name) or ""


def _answers(url: str) -> bool:
    with suppress(urllib3.exceptions.HTTPError):
        return urllib3.request("GET", url, retries=False, timeout=2).status == 200
    return False


class Machine:
    """A stand-in for the machines of a cluster: takes every pod of a namespace, and says of it what `how` says.

    It does what is done there: binds pods, tells their status, lets those go that are to go. Nothing runs.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self.how: Callable[[Object], Object | None] = serving
        """What becomes of a pod; None: nobody takes it yet."""

        self._api, self._pods = api, f"/api/v1/namespaces/{namespace}/pods"
        self._wrong: list[Answer] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        assert self._wrong == []

    def _work(self) -> None:
        while not self._over.wait(0.1):  # poll: a kubelet watches, which shows nothing more here
            with suppress(urllib3.exceptions.HTTPError, AssertionError):  # the API server is being killed
                for pod in self._api.list(self._pods):
                    self._see_to(pod)

    def _see_to(self, pod: Object) -> None:
        path = f"{self._pods}/{pod['metadata']['name']}"
        if pod["metadata"].get("deletionTimestamp"):
            self._tell("DELETE", path, {"gracePeriodSeconds": 0})
            return
        status = self.how(pod)
        if status is None:
            return
        if not pod["spec"].get("nodeName"):
            about = {"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": MACHINE}}
            self._tell("POST", f"{path}/binding", {"apiVersion": "v1", "kind": "Binding", **about})
        if not _is_part(status, pod.get("status") or {}):
            self._tell("PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json")

    def _tell(self, *asked: Any) -> None:
        answer = self._api.ask(*asked)
        if answer.status in (400, 422):  # it is wrong, and not only late
            self._wrong.append(answer)


def serving(pod: Object) -> Object:
    """The status of a pod that serves."""
    started = pod["metadata"]["creationTimestamp"]
    one = {
        "name": "service", "image": pod["spec"]["containers"][0]["image"], "imageID": "", "restartCount": 0,
        "ready": True, "started": True, "state": {"running": {"startedAt": started}},
    }  # fmt: skip
    return {"phase": "Running", "hostIP": "127.0.0.1", "conditions": _conditions("True"), "containerStatuses": [one]}


def failing(pod: Object, state: Object, restarts: int = 0, last: Object | None = None) -> Object:
    """The status of a pod whose container is in this state, and was in another one before."""
    one = {**serving(pod)["containerStatuses"][0], "ready": False, "started": False, "restartCount": restarts}
    one |= {"state": state, "lastState": last or {}}
    return {"phase": "Running", "hostIP": "127.0.0.1", "conditions": _conditions("False"), "containerStatuses": [one]}


def _conditions(ready: str) -> list[Object]:
    at = "2026-01-01T00:00:00Z"
    return [
        {"type": kind, "status": status, "lastTransitionTime": at}
        for kind, status in (("PodScheduled", "True"), ("ContainersReady", ready), ("Ready", ready))
    ]


def _is_part(wanted: Any, known: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(known, dict) and all(
            _is_part(one, known.get(name)) for name, one in wanted.items() if one != {}
        )
    if isinstance(wanted, list):
        pairs = zip(wanted, known, strict=False) if isinstance(known, list) else ()
        return isinstance(known, list) and len(wanted) == len(known) and all(_is_part(*pair) for pair in pairs)
    return bool(wanted == known)


def cluster(*, own: bool = False) -> tuple[Api, ControlPlane | None]:
    """A real cluster, for as long as tests run: the foreign one, unless it has to be our own.

    Skips the test, loudly, if there is none.
    """
    if _FOREIGN and not own:
        return Api(_FOREIGN), None
    why = _obstacle(own=own)
    if why:
        skip_loudly(f"DEPLOYER `kubernetes` IS NOT TESTED against a real API server: {why}")
    plane = _own()
    return Api(plane.kubeconfig), plane


def _obstacle(*, own: bool) -> str:
    if not _BINARIES:
        more = "" if own else ", PENSTOCK_TEST_KUBECONFIG no cluster"
        return f"KUBEBUILDER_ASSETS names no folder with its binaries{more}"
    names = ("etcd", "kube-apiserver", "kube-controller-manager")
    missing = [name for name in names if not _binary(name, _BINARIES)]
    return f"there is no {' and no '.join(missing)} in {_BINARIES}" if missing else ""


@cache
def _own() -> ControlPlane:
    plane = ControlPlane(_BINARIES or "")
    atexit.register(plane.close)
    plane.start()
    machine = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": MACHINE}}  # who is bound to none is taken away
    Api(plane.kubeconfig).do("POST", "/api/v1/nodes", machine)
    return plane


@contextmanager
def namespace(api: Api) -> Iterator[str]:
    """A namespace of the test's own, in which pods may be made."""
    name = f"penstock-{uuid.uuid4().hex[:8]}"
    api.do("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        eventually(lambda: api.ask("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default").status == 200)
        yield name
    finally:
        api.ask("DELETE", f"/api/v1/namespaces/{name}")
