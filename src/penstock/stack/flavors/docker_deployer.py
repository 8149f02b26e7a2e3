"""Services in containers of a Docker engine: one of each revision, and one that holds the port for them all."""

from __future__ import annotations

import io
import logging
import tarfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from penstock.errors import Conflict, InvalidInput, NotFound, PenstockError, Unavailable
from penstock.model.container import HOME, PLAN, PORT
from penstock.model.deployment import DeploymentState, Plan, Standing
from penstock.model.reading import read
from penstock.model.stack import Component
from penstock.stack.flavors import docker_containers as containers
from penstock.stack.flavors.docker_containers import CONTENT, DEPLOYMENT, GENERATION, LEAVING, REVISION, ROLE, Options
from penstock.stack.flavors.docker_engine import address, connect, translated
from penstock.stack.images import image_of
from penstock.stack.registry import build
from penstock.stack.works import Work, Works

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

log = logging.getLogger("penstock.docker")

LOOK = 10.0
"""Seconds that the engine may take to say how things are."""

_ALIVE = ("running", "restarting", "paused")
_TAKEN = ("already allocated", "already in use", "ports are not available", "cannot assign")


@dataclass(frozen=True)
class Found:
    """The containers of a deployment, as they are."""

    services: list[Container]
    """The earliest first."""

    gate: Container | None

    @property
    def alive(self) -> bool:
        """Whether one of them runs, or will again by itself."""
        return any(one.status in _ALIVE for one in self.services)


class DockerDeployer:
    """The deployer `docker`. Its options are those of `docker_containers.Options`."""

    extra = "docker"

    def __init__(self, **options: Any) -> None:
        self._options = read(Options, options, what="What is said of deployer 'docker'", at=("deployer", "options"))
        self._works = Works("docker")
        self._tidying: set[str] = set()
        self._urls: dict[str, str] = {}
        self._lock = threading.Lock()
        if self._options.says_of_image:
            build("image_builder", self._builder(None))  # refuses now what cannot be

    def apply(self, plan: Plan) -> None:
        """See `Deployer`."""
        containers.check_address(plan, self._options, local=self._local)
        containers.lodged(plan, self._options, local=self._local)
        with translated():
            self._eyes.ping()
        self._works.begin(plan.deployment_id, plan, self._carry_out)

    def state(self, deployment_id: str) -> Standing:
        """See `Deployer`. Containers that a newer one has relieved are removed behind its back."""
        work = self._works.get(deployment_id)
        try:
            found = self._find(deployment_id)
            url = self._url(found.gate)
            standing = self._standing(found, url)
        except Unavailable as error:
            url = self._urls.get(deployment_id)
            return Standing(state=DeploymentState.UNKNOWN, url=url, reason=error.detail, held=work is None)
        if url is not None:
            self._urls[deployment_id] = url
        if work is not None:
            revision = work.plan.revision if work.plan is not None else None
            state = DeploymentState.ERROR if work.error else DeploymentState.PENDING
            return Standing(state=state, url=url, reason=work.error or work.reason, revision=revision, held=False)
        if len(found.services) > 1 and standing.state is DeploymentState.RUNNING:
            self._tidy(deployment_id)
        return standing

    def logs(self, deployment_id: str, tail: int) -> list[str]:
        """See `Deployer`. While nothing serves: what building the image has printed."""
        with translated():
            said = [one.logs(tail=tail).decode(errors="replace") for one in self._find(deployment_id).services]
        lines = [line for text in said for line in text.splitlines()]
        work = self._works.get(deployment_id)
        return (lines or list(work.lines if work else ()))[-tail:]

    def remove(self, deployment_id: str) -> None:
        """See `Deployer`. Only when nothing runs any more are the port and what was not delivered given up."""
        found = self._find(deployment_id)
        work = self._works.get(deployment_id)
        if found.alive or not (work is None or work.ended.is_set()):
            self._works.begin(deployment_id, None, self._take_down)
            return
        self._works.forget(deployment_id)
        self._urls.pop(deployment_id, None)
        with translated():
            for container in (*found.services, found.gate):
                if container is not None:
                    _remove(container)
            for volume in self._client.volumes.list(filters={"label": f"{DEPLOYMENT}={deployment_id}"}):
                with suppress(NotFound), translated():
                    volume.remove()

    # The engine

    @cached_property
    def _client(self) -> DockerClient:
        return connect(self._options.engine)

    @cached_property
    def _eyes(self) -> DockerClient:
        """For looking: one thread looks after all deployments, and an engine that hangs must not keep it long."""
        return connect(self._options.engine, patience=LOOK)

    @cached_property
    def _address(self) -> str:
        return address(self._options.engine)

    @property
    def _local(self) -> bool:
        """Whether the engine sees the files of this machine."""
        return self._address.startswith("unix:")

    @cached_property
    def _rotating(self) -> bool:
        """Whether the engine keeps logs in files without a bound, as it does when nobody has said otherwise."""
        with translated():
            return bool(self._client.info().get("LoggingDriver") == "json-file")

    def _find(self, deployment_id: str, client: DockerClient | None = None) -> Found:
        with translated():
            found = (client or self._eyes).containers.list(
                all=True, filters={"label": f"{DEPLOYMENT}={deployment_id}"}, ignore_removed=True
            )
        services = [one for one in found if one.labels.get(ROLE) == "service"]
        gates = [one for one in found if one.labels.get(ROLE) == "gate"]
        return Found(sorted(services, key=_generation), gates[0] if gates else None)

    def _url(self, gate: Container | None) -> str | None:
        place = _published(gate) if gate is not None else None
        if place is None:
            return None
        host, port = place
        here = "127.0.0.1" if self._local else str(urlsplit(self._address).hostname)
        host = {"0.0.0.0": here, "": here, "::": "::1" if self._local else here}.get(host, host)  # noqa: S104
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _standing(self, found: Found, url: str | None) -> Standing:
        if not found.alive:
            return Standing(state=DeploymentState.ABSENT)
        newest = found.services[-1]
        revision = int(newest.labels.get(REVISION, 0))
        told = _told(newest)
        state, reason = DeploymentState.PENDING, told.get("error")
        if newest.status != "running":
            state, reason = DeploymentState.ERROR, _why_down(newest)
        elif told.get("state") in ("running", "error"):
            state = DeploymentState(told["state"])
        inner = _within(found.gate)
        return Standing(state=state, url=url, inner_url=inner, reason=reason, revision=revision)

    # What is done

    def _carry_out(self, deployment_id: str, work: Work) -> None:
        plan = work.plan
        assert plan is not None
        work.reason = "building the image"
        builder = build("image_builder", self._builder(plan.image_builder))
        prefix = {"prefix": self._options.registry} if self._options.registry else {}
        said = Component(flavor="docker", options={**prefix, **self._own_engine})
        registry = build("container_registry", said if prefix else plan.container_registry or said)
        image = builder.build(image_of(plan), registry, work.say)
        work.check()
        work.reason = "its container starts"
        try:
            with translated():
                self._bring_up(plan, image)
        except Conflict as error:  # another server does the same: what it has made is found at the next attempt
            raise Unavailable(error.detail) from error

    def _builder(self, of_stack: Component | None) -> Component:
        said = self._options.says_of_image
        if of_stack is not None and not said:
            return of_stack
        return Component(flavor="docker", options={**said, **self._own_engine})

    @property
    def _own_engine(self) -> dict[str, str]:
        return {} if self._options.engine is None else {"engine": self._options.engine}

    def _bring_up(self, plan: Plan, image: str) -> None:
        lodging = containers.lodged(plan, self._options, local=self._local)
        wanted = containers.service(lodging, image, self._options, rotating=self._rotating)
        self._client.volumes.create(
            containers.name_of(plan.deployment_id), labels=containers.labels_of(plan, "state", self._options)
        )
        found = self._find(plan.deployment_id, self._client)
        self._open_gate(plan, lodging, image, found.gate)
        newest = found.services[-1] if found.services else None
        if newest is not None and newest.labels.get(CONTENT) == wanted["labels"][CONTENT]:
            _put(newest, lodging)
            if newest.status not in _ALIVE:
                newest.start()
            elif _told(newest).get("state") == "error":
                newest.kill("SIGHUP")  # not after its next pause: now
            return
        for container in _in_vain(found.services):
            _remove(container)
        generation = _generation(newest) + 1 if newest is not None else 1
        made = self._client.containers.create(
            **{**wanted, "labels": {**wanted["labels"], GENERATION: str(generation)}},
            name=containers.name_of(plan.deployment_id, generation),
            command=containers.command(generation),
        )
        _put(made, lodging)
        made.start()

    def _open_gate(self, plan: Plan, lodging: containers.Lodging, image: str, gate: Container | None) -> None:
        if gate is not None and gate.status in _ALIVE:
            return
        host = containers.check_address(plan, self._options, local=self._local)
        wanted = containers.ports(plan, self._options)
        if gate is not None:
            if _started(gate):
                return
            before = _published(gate)
            wanted = [one for one in wanted if before is None or one != before[1]]
            _remove(gate)
        made = containers.gate(lodging, image, self._options, rotating=self._rotating)
        for port in wanted:
            gate = self._client.containers.create(**made, ports={f"{PORT}/tcp": (host, port)})
            if _started(gate):
                return
            _remove(gate)
        raise InvalidInput(
            f"None of the ports can be used on {host}: {', '.join(map(str, wanted[:5]))} ..."
            if len(wanted) > 1
            else f"Port {wanted[0]} of {host} is taken."
        )

    def _take_down(self, deployment_id: str, work: Work) -> None:
        """End the service in good order, and then the gate, which stays: it knows the port."""
        work.reason = "it is going"
        found = self._find(deployment_id, self._client)
        with translated():
            _stop_all(found.services)
            work.check()
            if found.gate is not None:
                found.gate.stop(timeout=1)

    def _tidy(self, deployment_id: str) -> None:
        with self._lock:
            if deployment_id in self._tidying:
                return
            self._tidying.add(deployment_id)
        threading.Thread(target=self._tidied, args=(deployment_id,), name="penstock-docker", daemon=True).start()

    def _tidied(self, deployment_id: str) -> None:
        """Remove what a newer one has relieved; requests that are under way there may end."""
        try:
            with translated():
                _stop_all(self._find(deployment_id, self._client).services[:-1])
        except PenstockError as error:
            log.warning("containers of deployment %s could not be removed: %s", deployment_id, error.detail)
        finally:
            self._tidying.discard(deployment_id)


def _generation(container: Container) -> int:
    return int(container.labels.get(GENERATION, 0))


def _in_vain(services: list[Container]) -> list[Container]:
    """Those that came after the one that serves, and do not: nobody waits for them any more."""
    running = [one for one in services if _told(one).get("state") == "running"]
    serves = (running or services[:1])[-1:]
    return [one for one in services if serves and _generation(one) > _generation(serves[0])]


def _told(container: Container) -> dict[str, Any]:
    """What its keeper says; nothing while there is none."""
    if container.status != "running":
        return {}
    with suppress(NotFound, Conflict, tarfile.TarError, msgspec.DecodeError), translated():
        stream, _ = container.get_archive(f"{HOME}/keeper/state.json")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            file = tar.extractfile(tar.getmembers()[0])
            told: dict[str, Any] = msgspec.json.decode(file.read() if file is not None else b"{}")
            return told
    return {}


def _put(container: Container, lodging: containers.Lodging) -> None:
    """Lay the plan into the container, readable for its user alone: it is in no image, and in no variable."""
    path, data, stream = PurePosixPath(PLAN), msgspec.json.encode(lodging.plan), io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo(path.name)
        member.size, member.mode = len(data), 0o400
        member.uid, member.gid = lodging.owner
        tar.addfile(member, io.BytesIO(data))
    container.put_archive(str(path.parent), stream.getvalue())


def _started(gate: Container) -> bool:
    """Start it; false if its port is taken."""
    from docker.errors import APIError  # optional: whoever comes here has it

    try:
        gate.start()
    except APIError as error:
        if any(word in str(error).lower() for word in _TAKEN):
            return False
        raise
    return True


def _within(gate: Container | None) -> str | None:
    """Where other containers reach the port: what is published on this machine's loopback is not on theirs."""
    networks = gate.attrs["NetworkSettings"].get("Networks") or {} if gate is not None else {}
    found = next((one["IPAddress"] for one in networks.values() if one.get("IPAddress")), None)
    return f"http://{found}:{PORT}" if found else None


def _published(gate: Container) -> tuple[str, int] | None:
    bindings = gate.attrs["HostConfig"].get("PortBindings") or {}
    for binding in bindings.get(f"{PORT}/tcp") or ():
        return str(binding.get("HostIp", "")), int(binding["HostPort"])
    return None


def _stop_all(services: list[Container]) -> None:
    """Stop them, each within the time that it asks for, all at once; and remove them."""
    threads = [threading.Thread(target=_stopped, args=(one,), daemon=True) for one in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _stopped(container: Container) -> None:
    with suppress(PenstockError), translated():
        container.stop(timeout=int(container.labels.get(LEAVING, 60)))
    with suppress(PenstockError):
        _remove(container)


def _remove(container: Container) -> None:
    """Remove it; somebody else may do so, too."""
    with suppress(NotFound, Conflict), translated():
        container.remove(force=True, v=False)


def _why_down(container: Container) -> str:
    state = container.attrs["State"]
    memory = ", for want of memory" if state.get("OOMKilled") else ""
    ended = f" (status {state['ExitCode']}{memory})" if state.get("ExitCode") is not None else ""
    said = state.get("Error") or ""
    return f"Its container is {container.status}{ended}{f': {said}' if said else ''}; its log may say why."
