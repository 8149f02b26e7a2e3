"""What can be said of the deployer `kubernetes`. What Kubernetes has a form for is written in that form, and checked by the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from penstock.errors import InvalidInput, fault, pointer

MARK = "penstock/"
"""What our own labels and annotations begin with."""

NAMES = ("name", "namespace", "deployment_id", "port", "image")
"""What extra resources may ask for: `${penstock.name}`."""

ASKED = re.compile(r"\$\{penstock\.([^}]*)\}")

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NAMESPACE = re.compile(rf"(?=.{{1,63}}$){_LABEL}")
_HOST = re.compile(rf"(?=.{{1,253}}$)(\*\.)?{_LABEL}(\.{_LABEL})*")
_VALUE = re.compile(r"(?=.{0,63}$)([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_KEY = re.compile(
    rf"((?=[^/]{{1,253}}/){_LABEL}(\.{_LABEL})*/)?(?=[^/]{{1,63}}$)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_SHARE = re.compile(r"(100|[1-9]?[0-9])%")

_NAME_TOLD = "Expected lower-case letters, digits and `-`, as Kubernetes names things."


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How often the service is asked, for how many seconds, and how often it may fail."""

    period: int = 10
    timeout: int = 5
    failures: int = 3

    def __post_init__(self) -> None:
        _refuse([fault(f"/{name}", "Expected 1 or more.") for name, value in vars(self).items() if value < 1])


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a pod asks for and may take, by name, as Kubernetes writes it: `{"cpu": "500m", "memory": "1Gi"}`."""

    requests: dict[str, str] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _refuse(
            fault(pointer(kind, name), "Expected a quantity: 500m, 2, 1Gi.")
            for kind in ("requests", "limits")
            for name, value in getattr(self, kind).items()
            if not _QUANTITY.fullmatch(value)
        )


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Something else that pods see at `mount_path`. `source` is as in a pod: `{"configMap": {"name": "..."}}`."""

    name: str
    mount_path: str
    source: dict[str, Any]
    read_only: bool = False
    sub_path: str | None = None

    def __post_init__(self) -> None:
        faults = _names({"/name": self.name}, _NAMESPACE)
        if not self.mount_path.startswith("/") or ":" in self.mount_path:
            faults.append(fault("/mount_path", "Expected an absolute path."))
        if self.name.startswith("penstock-"):
            faults.append(fault("/name", "Names that begin with penstock- are ours."))
        if len(self.source) != 1:
            faults.append(fault("/source", 'Expected one kind of volume: {"configMap": {"name": "..."}}.'))
        _refuse(faults)


@dataclass(frozen=True, kw_only=True)
class Autoscaling:
    """How many pods there are, by their load. `metrics` and `behavior` are as in `autoscaling/v2`."""

    max_replicas: int
    min_replicas: int = 1
    cpu_percent: int | None = None
    """Of what a pod asks for, on average."""

    memory_percent: int | None = None
    metrics: tuple[dict[str, Any], ...] = ()
    behavior: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = []
        if not 1 <= self.min_replicas <= self.max_replicas:
            faults.append(fault("/max_replicas", "Expected 1 <= min_replicas <= max_replicas."))
        if self.cpu_percent is None and self.memory_percent is None and not self.metrics:
            faults.append(fault("/cpu_percent", "Say by what: cpu_percent, memory_percent or metrics."))
        shares = {"cpu_percent": self.cpu_percent, "memory_percent": self.memory_percent}
        low = [name for name, value in shares.items() if value is not None and value < 1]
        _refuse([*faults, *(fault(f"/{name}", "Expected 1 or more.") for name in low)])


@dataclass(frozen=True, kw_only=True)
class Ingress:
    """How the service is reached from outside the cluster."""

    host: str | None = None
    path: str | None = None
    """By default the `root_url_path` of the deployment settings, or `/`. It is passed on as it is."""

    path_type: Literal["Prefix", "Exact", "ImplementationSpecific"] = "Prefix"
    class_name: str | None = None
    tls_secret: str | None = None
    annotations: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = _names({"/class_name": self.class_name, "/tls_secret": self.tls_secret})
        faults += _names({"/host": self.host}, _HOST)
        if self.path is not None and not re.fullmatch(r"/[^\s?#]*", self.path):
            faults.append(fault("/path", "Expected a path that begins with `/`."))
        _refuse(faults + _keys(self.annotations, "annotations"))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be said of the deployer `kubernetes`."""

    context: str | None = None
    """Of the kubeconfig; by default its current one. Without a kubeconfig: the cluster that the server itself runs in."""

    kubeconfig: str | None = None
    namespace: str = "default"
    create_namespace: bool = False
    """It stays when the deployment goes."""

    image: str | None = None
    """An image of your own, with Penstock in it. By default one is built and pushed."""

    command: tuple[str, ...] = ()
    """In the place of the image's entrypoint, which is `python -m penstock.serve.container`."""

    registry: str | None = None
    """The prefix of a registry to which images are pushed; by default the stack's container registry."""

    image_builder: dict[str, Any] = field(default_factory=dict)
    """Options of the image builder `docker`; by default the stack's image builder."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    image_pull_secrets: tuple[str, ...] = ()
    server_url: str | None = None
    """Where pods reach the server."""

    tracking: bool = True
    """Whether the server is told of requests. If not, pods need not reach it."""

    replicas: int = 1
    autoscaling: Autoscaling | None = None
    resources: Resources = field(default_factory=Resources)
    storage: str | None = None
    """Size of a disk for submitted requests and records on their way: by default 1Gi if requests may be submitted, else none."""

    storage_class: str | None = None
    storage_claim: str | None = None
    """A PersistentVolumeClaim that is there already, instead."""

    environment: dict[str, str] = field(default_factory=dict)
    environment_from: tuple[str, ...] = ()
    """Secrets of the namespace whose entries become variables."""

    volumes: tuple[Volume, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    pod_annotations: dict[str, str] = field(default_factory=dict)
    service_account: str | None = None
    user: int = 10001
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    affinity: dict[str, Any] = field(default_factory=dict)
    topology_spread_constraints: tuple[dict[str, Any], ...] = ()
    priority_class: str | None = None
    runtime_class: str | None = None
    max_surge: Any = "25%"
    min_ready_seconds: int = 0
    startup_timeout: int = 600
    """Seconds in which a pod has to be ready."""

    pre_stop: int = 5
    """Seconds for which a pod that is going still takes requests: until all have heard that it is."""

    readiness_probe: Probe = field(default_factory=lambda: Probe(period=5))
    liveness_probe: Probe = field(default_factory=Probe)
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    service_port: int = 80
    node_port: int | None = None
    service_annotations: dict[str, str] = field(default_factory=dict)
    ingress: Ingress | None = None
    extra_resources: Any = ()
    """More objects: a list of them, or the text of a YAML file. They come and go with the deployment."""

    def __post_init__(self) -> None:
        faults = [*self._named(), *self._measured(), *self._contradictory(), *self._marked()]
        try:
            object.__setattr__(self, "extra_resources", _objects(self.extra_resources))
        except InvalidInput as error:
            faults += error.errors
        else:
            for number, one in enumerate(self.extra_resources):
                faults += _object_faults(one, f"/extra_resources/{number}", self.namespace)
        _refuse(faults)

    @property
    def inside(self) -> Options:
        """The same for a service that only others in the cluster call: what there can be one of is left to those."""
        return replace(
            self,
            service_type="ClusterIP",
            node_port=None,
            service_annotations={},
            ingress=None,
            extra_resources=(),
            storage=None,
            storage_claim=None,
        )

    @property
    def several(self) -> bool:
        """Whether there may be more than one pod of a revision."""
        return self.replicas > 1 or (self.autoscaling is not None and self.autoscaling.max_replicas > 1)

    @property
    def open(self) -> bool:
        """Whether others than the cluster's own pods may call."""
        return self.service_type != "ClusterIP" or self.ingress is not None

    def _named(self) -> list[dict[str, Any]]:
        single = ("storage_class", "storage_claim", "service_account", "priority_class", "runtime_class")
        faults = _names({"/namespace": self.namespace}, _NAMESPACE)
        faults += _names({f"/{name}": getattr(self, name) for name in single})
        for name in ("image_pull_secrets", "environment_from"):
            faults += _names({f"/{name}/{number}": one for number, one in enumerate(getattr(self, name))})
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            faults.append(fault("/image", "This is no reference of an image."))
        faults += [
            fault(pointer("environment", name), "This is no name of a variable.")
            for name in self.environment
            if not _VARIABLE.fullmatch(name)
        ]
        twice = {one.name for one in self.volumes if [other.name for other in self.volumes].count(one.name) > 1}
        return faults + [fault("/volumes", f"There are two volumes named '{name}'.") for name in sorted(twice)]

    def _measured(self) -> list[dict[str, Any]]:
        least = {"replicas": 1, "user": 1, "min_ready_seconds": 0, "startup_timeout": 1, "pre_stop": 0}
        faults = [
            fault(f"/{name}", f"Expected {bound} or more.")
            for name, bound in least.items()
            if getattr(self, name) < bound
        ]
        if self.storage is not None and not _QUANTITY.fullmatch(self.storage):
            faults.append(fault("/storage", "Expected a quantity: 1Gi."))
        if not 0 < self.service_port < 65536:
            faults.append(fault("/service_port", "This is no port."))
        if self.node_port is not None and not 0 < self.node_port < 65536:
            faults.append(fault("/node_port", "This is no port."))
        surge = self.max_surge
        number = isinstance(surge, int) and not isinstance(surge, bool) and surge > 0
        if not number and not (isinstance(surge, str) and _SHARE.fullmatch(surge) and surge != "0%"):
            faults.append(
                fault("/max_surge", "Expected a number above 0, or a share: 25%. The old pods stay until then.")
            )
        if self.server_url is not None and not _is_url(self.server_url):
            faults.append(fault("/server_url", "Expected http(s)://host[:port]."))
        return faults

    def _contradictory(self) -> list[dict[str, Any]]:
        faults = []
        if self.autoscaling is not None and self.replicas != 1:
            faults.append(fault("/replicas", "With autoscaling say min_replicas and max_replicas there."))
        for kind in ("cpu", "memory"):
            asked = self.autoscaling is not None and getattr(self.autoscaling, f"{kind}_percent") is not None
            if asked and kind not in {**self.resources.requests, **self.resources.limits}:
                told = "It is a share of what a pod asks for: say that."
                faults.append(fault(f"/resources/requests/{kind}", told))
        if self.storage is not None and self.storage_claim is not None:
            faults.append(fault("/storage", "Say either how large a disk is to be made, or which is there."))
        if self.several and (self.storage or self.storage_claim):
            told = "Several pods cannot share a disk: they keep what is on its way for themselves."
            faults.append(fault("/storage" if self.storage else "/storage_claim", told))
        if self.node_port is not None and self.service_type == "ClusterIP":
            faults.append(fault("/node_port", "A service of this type has none.", allowed=("NodePort", "LoadBalancer")))
        if self.image is not None:
            said = [name for name in ("registry", "image_builder") if getattr(self, name)]
            faults += [fault(f"/{name}", "With an image of your own none is built.") for name in said]
        if not self.tracking and self.server_url is not None:
            faults.append(fault("/tracking", "Say either where the server is, or that it is not told."))
        return faults

    def _marked(self) -> list[dict[str, Any]]:
        faults = []
        for name in ("labels", "annotations", "pod_annotations", "service_annotations"):
            faults += _keys(getattr(self, name), name)
        faults += [
            fault(pointer("labels", name), "This is no value of a label.")
            for name, value in self.labels.items()
            if not _VALUE.fullmatch(value)
        ]
        return faults


def filled(thing: Any, values: Mapping[str, str]) -> Any:
    """`thing` with each `${penstock.NAME}` in its texts replaced."""
    if isinstance(thing, str):
        return ASKED.sub(lambda found: values[found[1]], thing)
    if isinstance(thing, Mapping):
        return {name: filled(value, values) for name, value in thing.items()}
    return [filled(one, values) for one in thing] if isinstance(thing, list | tuple) else thing


def _objects(given: Any) -> tuple[Any, ...]:
    if isinstance(given, str):
        try:
            given = [one for one in yaml.safe_load_all(given) if one is not None]
        except yaml.YAMLError as error:
            raise InvalidInput(errors=[fault("/extra_resources", f"This is no YAML: {error}")]) from None
    if not isinstance(given, list | tuple):
        raise InvalidInput(
            errors=[fault("/extra_resources", "Expected a list of objects, or the text of a YAML file.")]
        )
    return tuple(given)


def _object_faults(given: Any, at: str, namespace: str) -> list[dict[str, Any]]:
    if not isinstance(given, Mapping):
        return [fault(at, "Expected an object with apiVersion, kind and metadata.")]
    metadata = given.get("metadata")
    faults = [
        fault(f"{at}/{name}", "A text is needed.") for name in ("apiVersion", "kind") if not _is_text(given.get(name))
    ]
    if not isinstance(metadata, Mapping) or not _is_text(metadata.get("name")):
        return [*faults, fault(f"{at}/metadata/name", "A name is needed.")]
    if metadata.get("namespace", namespace) != namespace:
        faults.append(fault(f"{at}/metadata/namespace", f"It goes into the namespace of the deployment: {namespace}."))
    for name in ("labels", "annotations"):
        own = metadata.get(name)
        if own is not None and not (
            isinstance(own, Mapping) and all(_is_text(one) for pair in own.items() for one in pair)
        ):
            faults.append(fault(f"{at}/metadata/{name}", "Expected names and texts."))
        elif own is not None:
            faults += _keys(own, name, f"{at}/metadata")
    unknown = sorted({one for one in ASKED.findall(_text(given)) if one not in NAMES})
    return faults + [fault(at, f"There is no ${{penstock.{one}}}.", allowed=NAMES, given=one) for one in unknown]


def _text(thing: Any) -> str:
    if isinstance(thing, Mapping):
        return "\n".join(_text(value) for value in thing.values())
    return "\n".join(map(_text, thing)) if isinstance(thing, list | tuple) else str(thing)


def _is_text(thing: Any) -> bool:
    return isinstance(thing, str) and bool(thing)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username and parts.port != 0
    except ValueError:
        return False


def _names(given: Mapping[str, str | None], form: re.Pattern[str] = _SUBDOMAIN) -> list[dict[str, Any]]:
    return [fault(at, _NAME_TOLD) for at, name in given.items() if name is not None and not form.fullmatch(name)]


def _keys(given: Mapping[str, str], name: str, at: str = "") -> list[dict[str, Any]]:
    ours = [
        fault(at + pointer(name, key), f"Names that begin with {MARK} are ours.")
        for key in given
        if key.startswith(MARK)
    ]
    return ours + [
        fault(at + pointer(name, key), "Expected [prefix/]name.") for key in given if not _KEY.fullmatch(key)
    ]


def _refuse(faults: Iterable[dict[str, Any]]) -> None:
    found = list(faults)
    if found:
        raise InvalidInput("The options of deployer 'kubernetes' do not fit.", errors=found)
