"""The containers of a deployment, as the engine is told of them: worked out from plans and options; nothing is asked here."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from penstock.errors import InvalidInput, fault
from penstock.ids import digest_of
from penstock.model.container import HOME, PORT, PYTHON, STATE, USER
from penstock.model.deployment import Plan
from penstock.model.image import inside
from penstock.model.secret import used_in
from penstock.model.stack import Component

SERVER = "/run/penstock/server"
"""In a container: the directory with the server's socket, where that is how the server is reached."""

GATE = f"{STATE}/gate"
GATEWAY = "host.docker.internal"

DEPLOYMENT, ROLE, GENERATION, REVISION, CONTENT, LEAVING = (
    f"penstock.{name}" for name in ("deployment", "role", "generation", "revision", "content", "leaving")
)
"""Labels by which containers and volumes are found again."""

_MEMORY = re.compile(r"[1-9][0-9]*[bkmg]?")
_LOGS = {"max-size": "10m", "max-file": "2"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be said of the deployer `docker`."""

    engine: str | None = None
    """Address of the engine: by default the one that the `docker` command would take."""

    address: str | None = None
    """Where the engine's machine listens; by default as the deployment settings say."""

    port: int | None = None
    allocate_port_if_busy: bool = True
    port_range: tuple[int, ...] = (8000, 65535)
    server_url: str | None = None
    """Where a container reaches the server, if that is not by the server's socket on the same machine."""

    network: str | None = None
    """The network of the service's containers, so that its steps reach others there."""

    cpus: float | None = None
    memory: str | None = None
    """As the engine writes it: `512m`, `2g`."""

    user: str | None = None
    """`uid[:gid]`: by default that of the server, or, if that is root, the one of the image."""

    labels: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    """`name-or-path:/path[:ro]`, as the `docker` command has it."""

    base_image: str | None = None
    platform: str | None = None
    system_packages: tuple[str, ...] = ()
    index_url: str | None = None
    wheels: str | None = None
    build_network: str | None = None
    registry: str | None = None
    """The prefix of a registry to which images are pushed."""

    def __post_init__(self) -> None:
        faults = []
        if len(self.port_range) != 2 or not 0 < self.port_range[0] <= self.port_range[1] < 65536:
            faults.append(fault("/port_range", "Expected two ports, the lower one first."))
        if self.port is not None and not 0 < self.port < 65536:
            faults.append(fault("/port", "This is no port."))
        if self.memory is not None and not _MEMORY.fullmatch(self.memory):
            faults.append(fault("/memory", "Expected a number with k, m or g behind it."))
        if self.cpus is not None and self.cpus <= 0:
            faults.append(fault("/cpus", "Expected a number above 0."))
        if self.user is not None and not re.fullmatch(r"\d+(:\d+)?", self.user):
            faults.append(fault("/user", "Expected numbers: uid[:gid]."))
        if self.server_url is not None and urlsplit(self.server_url).scheme not in ("http", "https"):
            faults.append(fault("/server_url", "Expected http(s)://host[:port]."))
        if any(name.startswith("penstock.") for name in self.labels):
            faults.append(fault("/labels", "Labels that begin with penstock. are ours."))
        if not all(re.fullmatch(r"[^:]+:/[^:]*(:(ro|rw))?", one) for one in self.volumes):
            faults.append(fault("/volumes", "Expected name-or-path:/path[:ro]."))
        if faults:
            raise InvalidInput("The options of deployer 'docker' do not fit.", errors=faults)

    @property
    def says_of_image(self) -> dict[str, Any]:
        """Options of the image builder that are said here."""
        names = {"base_image", "platform", "system_packages", "index_url", "wheels"}
        said = {name: getattr(self, name) for name in names} | {"network": self.build_network}
        return {name: value for name, value in said.items() if value not in (None, ())}


@dataclass(frozen=True, kw_only=True)
class Lodging:
    """A plan as its container gets it, and what of this machine that container is shown."""

    plan: Plan
    user: str
    mounts: tuple[tuple[str, str, bool], ...] = ()
    """Path here, path there, whether it may only be read."""

    @property
    def owner(self) -> tuple[int, int]:
        """The numbers of the user and the group."""
        uid, _, gid = self.user.partition(":")
        return int(uid), int(gid or 0)


def lodged(plan: Plan, options: Options, *, local: bool) -> Lodging:
    """How the service of a plan lives in a container. `local`: the engine sees the files of this machine.

    Raises `InvalidInput` for what could not work there: a server, secrets or artifacts that a container cannot reach.
    """
    mounts: list[tuple[str, str, bool]] = []
    faults: list[dict[str, Any]] = []
    server = _server(plan, options, mounts, faults, local=local)
    stores = _stores(plan, mounts, faults, options, local=local)
    if faults:
        raise InvalidInput("A container could not serve this.", errors=faults)
    made = replace(
        inside(plan, server=server),
        image_builder=None,
        container_registry=None,
        artifact_store=stores["artifact_store"],
        secret_store=stores["secret_store"],
    )
    return Lodging(plan=made, user=options.user or _user(), mounts=tuple(mounts))


def check_address(plan: Plan, options: Options, *, local: bool) -> str:
    """Where the engine's machine is to listen. Raises `InvalidInput` where nobody could call, or everybody."""
    if plan.seat is not None:  # who asks a companion comes from inside, to its `inner_url`
        return "127.0.0.1"
    address = options.address or plan.host
    if not (plan.auth or _is_loopback(address)):
        raise InvalidInput(
            f"A service on {address} is open to other machines: make it a key first, or leave it on 127.0.0.1.",
            errors=[fault("/settings/uvicorn_host", "Callers need no key here.")],
        )
    if _is_loopback(address) and not local:
        raise InvalidInput(
            f"On {address} of the engine's machine nobody here could call it: say another `address`, and make it a key.",
            errors=[_fault("address", "The engine is on another machine.")],
        )
    return "127.0.0.1" if address == "localhost" else address


def name_of(deployment_id: str, part: str | int | None = None) -> str:
    """The name of a container of the deployment, or of its volume. Two who make the same thing meet by it."""
    return f"penstock-{deployment_id}" if part is None else f"penstock-{deployment_id}-{part}"


def labels_of(plan: Plan, role: str, options: Options) -> dict[str, str]:
    """What every thing of the deployment is marked with."""
    return {**options.labels, DEPLOYMENT: plan.deployment_id, ROLE: role, "penstock.name": plan.deployment_name}


def service(lodging: Lodging, image: str, options: Options, *, rotating: bool) -> dict[str, Any]:
    """The container of a revision, but for its name and its generation. `rotating`: its log is ours to bound."""
    plan = lodging.plan
    leaving = int(plan.settings.drain + plan.grace + 30)
    made: dict[str, Any] = {
        **_confined(image, rotating=rotating),
        "user": lodging.user,
        "environment": dict(options.environment),
        "mounts": [_state(plan), *(_mount("bind", *one) for one in lodging.mounts)],
        "volumes": list(options.volumes),
        "stop_signal": "SIGTERM",
        "labels": {
            **labels_of(plan, "service", options),
            REVISION: str(plan.revision),
            LEAVING: str(leaving),
        },
    }
    said = {
        "network": options.network,
        "mem_limit": options.memory,
        "nano_cpus": None if options.cpus is None else int(options.cpus * 1e9),
        "platform": options.platform,
        "extra_hosts": {GATEWAY: "host-gateway"} if urlsplit(plan.server).hostname == GATEWAY else None,
    }
    made |= {name: value for name, value in said.items() if value is not None}
    made["labels"][CONTENT] = _content(made, plan)
    return made


def command(generation: int) -> list[str]:
    """What a service's container is told besides its image's own word."""
    return ["--gate", GATE, "--generation", str(generation)]


def gate(lodging: Lodging, image: str, options: Options, *, rotating: bool) -> dict[str, Any]:
    """The container that holds the port, but for which port that is."""
    return {
        **_confined(image, rotating=rotating),
        "name": name_of(lodging.plan.deployment_id, "gate"),
        "entrypoint": [PYTHON, "-P", "-m", "penstock.serve.gate", GATE, "0.0.0.0", str(PORT)],  # noqa: S104  # in it
        "user": lodging.user,
        "mounts": [_state(lodging.plan)],
        "read_only": True,
        "mem_limit": "64m",
        "labels": labels_of(lodging.plan, "gate", options),
        **({"network": options.network} if options.network is not None else {}),
    }


def ports(plan: Plan, options: Options) -> list[int]:
    """The ports to try, one after the other."""
    low, high = options.port_range
    if plan.seat is not None:  # what is said of a port is said of the deployment that is asked
        return [plan.port or low, *range(low, high + 1)[:200]]
    first = options.port if options.port is not None else plan.port or low
    others = range(max(low, first) if low <= first <= high else low, high + 1)
    return list(dict.fromkeys([first, *others[:200]])) if options.allocate_port_if_busy else [first]


def _confined(image: str, *, rotating: bool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "image": image,
        "detach": True,
        "restart_policy": {"Name": "unless-stopped"},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
    }
    return {**made, "log_config": {"Type": "json-file", "Config": _LOGS}} if rotating else made


def _state(plan: Plan) -> dict[str, Any]:
    return _mount("volume", name_of(plan.deployment_id), STATE, False)


def _mount(kind: str, source: str, target: str, only: bool) -> dict[str, Any]:
    """As the engine's API has it: of this kind, a path that is not there is refused, not made."""
    return {"Type": kind, "Source": source, "Target": target, "ReadOnly": only}


def _content(made: dict[str, Any], plan: Plan) -> str:
    """What tells a container from one that would be made now. A token is another one each time, and as good."""
    text = json.dumps(made, sort_keys=True).encode() + msgspec.json.encode(replace(plan, token=""))
    return digest_of(text)


def _server(
    plan: Plan, options: Options, mounts: list[tuple[str, str, bool]], faults: list[dict[str, Any]], *, local: bool
) -> str:
    if options.server_url is not None or not plan.server:
        return options.server_url or ""
    if not plan.server.startswith("unix:"):
        return plan.server
    path = Path(plan.server.removeprefix("unix:"))
    if local and sys.platform == "linux":  # elsewhere it is in a virtual machine, which is shown files, but no sockets
        mounts.append((str(path.parent), SERVER, True))
        return f"unix:{SERVER}/{path.name}"
    told = (
        "The engine is on another machine, or in a virtual one: its containers cannot come to this server's socket. Have the "
        "server listen for them (penstock up --host), and say its address."
    )
    faults.append(_fault("server_url", told))
    return ""


def _stores(
    plan: Plan, mounts: list[tuple[str, str, bool]], faults: list[dict[str, Any]], options: Options, *, local: bool
) -> dict[str, Component | None]:
    """The stores as the container sees them: those in folders of this machine are shown to it, if they can be."""
    stores: dict[str, Component | None] = {"artifact_store": plan.artifact_store, "secret_store": plan.secret_store}
    artifacts, secrets = plan.artifact_store, plan.secret_store
    root = options.user is None and os.getuid() == 0
    if artifacts is not None and artifacts.flavor == "file":
        keep = plan.settings.keep_artifacts
        if keep and (root or not local):
            why = (
                "the engine is on another machine" if not local else "this server runs as root, and its services do not"
            )
            told = f"They would be kept in a folder of this machine, where a container cannot write: {why}."
            faults.append(fault("/settings/keep_artifacts", f"{told} Use an artifact store of flavor `object`."))
        path = Path(str(artifacts.options["path"])).expanduser()
        if local:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            mounts.append((str(path), f"{HOME}/artifacts", not keep))
        stores["artifact_store"] = Component(flavor="file", options={"path": f"{HOME}/artifacts"})
    if secrets is not None and secrets.flavor == "file":
        if _uses_secrets(plan):
            if root or not local:
                why = (
                    "the engine is on another machine" if not local else "this server runs as root, its services do not"
                )
                told = f"The pipeline uses secrets, which are in a folder of this machine: {why}."
                advice = (
                    "Give the container its values (`environment`: PENSTOCK_SECRET_<NAME>__<KEY>), or say a `user`."
                )
                if not any(name.startswith("PENSTOCK_SECRET_") for name in options.environment):
                    faults.append(fault("/deployer/options/user", f"{told} {advice}"))
            else:
                mounts.extend(_secret_mounts(secrets, faults))
        stores["secret_store"] = Component(flavor="file", options={"path": f"{HOME}/secrets"})
    return stores


def _secret_mounts(secrets: Component, faults: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    folder = Path(str(secrets.options["path"])).expanduser()
    said = secrets.options.get("key_file") or os.environ.get("PENSTOCK_SECRETS_KEY_FILE")
    key = Path(str(said)).expanduser() if said else folder.with_name(f"{folder.name}.key")
    if not (folder.is_dir() and key.is_file()):
        faults.append(fault("/snapshot", "The pipeline uses secrets, and there is none yet: `penstock secret set`."))
        return []
    return [(str(folder), f"{HOME}/secrets", True), (str(key), f"{HOME}/secrets.key", True)]


def _uses_secrets(plan: Plan) -> bool:
    return used_in(msgspec.json.encode(plan.snapshot.content).decode())


def _user() -> str:
    """Files of this machine are ours: who is to read them there must be we. Root stays at home."""
    uid = os.getuid()
    return f"{uid}:{os.getgid()}" if uid else f"{USER}:{USER}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _fault(option: str, message: str) -> dict[str, Any]:
    return fault(f"/deployer/options/{option}", message)
