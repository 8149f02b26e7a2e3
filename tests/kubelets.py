"""A machine of a cluster that carries out its pods, as processes of this one: for what is held against every deployer.

A container is a process of this Python, with the files of its Secrets; where they, its home and its disk are said to be is said to it by
options of `penstock.serve.container`, in place of mounts. It is probed, started again, told to go, and its output is what the API
server gets for its log. Beside it is what finds services: their names, and the way to a pod that is ready.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3

from penstock.model.container import HOME
from tests.control_planes import MACHINE, Api, ControlPlane, Machine, Object, failing, serving
from tests.ports import new_port


class Container:
    """A process, its port and what it has printed."""

    def __init__(self, pod: Object, secrets: dict[str, Object], disks: Path, code: Path) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="pk-pod-"))
        self.port, self.restarts, self.ready = new_port(), 0, False
        self.lines: list[tuple[str, str]] = []
        (self._spec,) = pod["spec"]["containers"]
        volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
        claim = volumes.get("penstock-state", {}).get("persistentVolumeClaim", {}).get("claimName")
        self._state = disks / claim if claim else self.place / "state"
        self._code, home = code, self.place / "home"
        for name, data in secrets[volumes["penstock-plan"]["secret"]["secretName"]]["data"].items():
            text = base64.b64decode(data).decode().replace(json.dumps(HOME), json.dumps(str(home)))
            (self.place / name).write_text(text)
        self._home = home
        self.start()

    def start(self) -> None:
        """Start it, for the first time or again."""
        said = {one["name"]: one["value"].replace(HOME, str(self._home)) for one in self._spec["env"]}
        command = [
            *(self._spec.get("command") or [sys.executable, "-m", "penstock.serve.container"]),
            *self._spec["args"],
        ]
        command += ["--plan", str(self.place / "plan.json"), "--home", str(self._home), "--state", str(self._state)]
        command += ["--code", str(self._code), "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, env={**os.environ, **said}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()

    def probe(self) -> bool:
        """Whether it is ready, by its own probe."""
        path = self._spec["readinessProbe"]["httpGet"]["path"]
        with suppress(urllib3.exceptions.HTTPError):
            answer = urllib3.request("GET", f"http://127.0.0.1:{self.port}{path}", retries=False, timeout=5)
            return answer.status == 200
        return False

    def end(self) -> None:
        """Have it be gone, with all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    def _read(self, output: Any) -> None:
        with output:
            for line in output:
                self.lines.append((datetime.now(UTC).isoformat().replace("+00:00", "Z"), line.rstrip("\n")))


class Kubelet(Machine):
    """The machine of one namespace. `code` has the archives, unpacked, that are in every image."""

    def __init__(self, api: Api, plane: ControlPlane, namespace: str, code: Path) -> None:
        super().__init__(api, namespace)
        self._namespace, self._code = namespace, code
        self._disks = Path(tempfile.mkdtemp(prefix="pk-disks-"))
        self.containers: dict[str, Container] = {}
        self._leaving: set[str] = set()
        self._logs = _log_server(self, plane)
        about = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._logs.server_address[1]}},
        }
        api.merge(f"/api/v1/nodes/{MACHINE}/status", {"status": about})
        self.port = new_port()
        """Leads to a pod that is ready, as the port of a service does."""

        self._proxy = _Proxy(("127.0.0.1", self.port), _Passing)
        self._proxy.kubelet = self
        threading.Thread(target=self._proxy.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(self, *exception: object) -> None:
        try:
            super().__exit__(*exception)
        finally:
            for one in self.containers.values():
                one.end()
            for server in (self._logs, self._proxy):
                server.shutdown()
                server.server_close()
            shutil.rmtree(self._disks, ignore_errors=True)

    def _see_to(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        container = self.containers.get(name)
        if pod["metadata"].get("deletionTimestamp"):
            self._let_go(name, container, pod)
            return
        if container is None:
            secrets = {
                one["metadata"]["name"]: one for one in self._api.list(f"/api/v1/namespaces/{self._namespace}/secrets")
            }
            container = self.containers[name] = Container(pod, secrets, self._disks, self._code)
        status = container.process.poll()
        if status is not None:
            container.restarts += 1
            container.start()
        container.ready = container.probe()
        self.how = serving if container.ready else _starting(container, status)
        super()._see_to(pod)

    def _let_go(self, name: str, container: Container | None, pod: Object) -> None:
        if container is not None and name not in self._leaving:
            self._leaving.add(name)
            container.ready = False
            container.process.terminate()
        if container is None or container.process.poll() is not None:
            super()._see_to(pod)
            if container is not None:
                self.containers.pop(name).end()


def _starting(container: Container, status: int | None) -> Any:
    before = {"terminated": {"exitCode": status, "message": "\n".join(text for _, text in container.lines[-5:])}}
    started = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    return lambda pod: failing(pod, started, container.restarts, before if status else None)


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    kubelet: Kubelet


class _Passing(socketserver.BaseRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        ready = [one.port for one in self.server.kubelet.containers.values() if one.ready]
        if not ready:
            return
        with socket.create_connection(("127.0.0.1", ready[0])) as other:
            ends = {self.request: other, other: self.request}
            while True:
                for one in select.select(list(ends), [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    ends[one].sendall(data)


def _log_server(kubelet: Kubelet, plane: ControlPlane) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)  # /containerLogs/NAMESPACE/POD/CONTAINER
            container = kubelet.containers.get(parts.path.split("/")[3])
            tail = int(parse_qs(parts.query)["tailLines"][0])
            lines = container.lines[-tail:] if container else []
            data = "".join(f"{at} {text}\n" for at, text in lines).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*plane.certificate_of("kubelet"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server
