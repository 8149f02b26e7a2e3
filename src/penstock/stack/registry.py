"""Which class stands behind a component: the built-in flavors by a table, all others by entry point."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, overload

from penstock.errors import InvalidInput, Unavailable, fault, pointer
from penstock.model.stack import Component
from penstock.stack.contracts import ArtifactStore, ContainerRegistry, Deployer, ImageBuilder, Launcher, SecretStore

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "penstock.flavors"
"""The entry point group of plug-ins. An entry is called `<kind>.<flavor>` and names the class."""

_CONTRACTS: dict[str, type] = {
    "orchestrator": Launcher,
    "deployer": Deployer,
    "artifact_store": ArtifactStore,
    "image_builder": ImageBuilder,
    "container_registry": ContainerRegistry,
    "secret_store": SecretStore,
}

# Also registered by entry point, like any other flavor; known here because reading entry points takes tens of milliseconds.
_BUILT_IN = {
    "artifact_store.file": "penstock.stack.flavors.file_store:FileStore",
    "artifact_store.object": "penstock.stack.flavors.object_store:ObjectStore",
    "container_registry.docker": "penstock.stack.flavors.docker_registry:DockerRegistry",
    "deployer.docker": "penstock.stack.flavors.docker_deployer:DockerDeployer",
    "deployer.kubernetes": "penstock.stack.flavors.kubernetes_deployer:KubernetesDeployer",
    "deployer.local": "penstock.stack.flavors.local_deployer:LocalDeployer",
    "image_builder.docker": "penstock.stack.flavors.docker_builder:DockerBuilder",
    "orchestrator.local": "penstock.stack.flavors.local:LocalLauncher",
    "secret_store.file": "penstock.stack.flavors.secret_files:SecretFiles",
}


@overload
def build(kind: Literal["artifact_store"], component: Component) -> ArtifactStore: ...
@overload
def build(kind: Literal["orchestrator"], component: Component) -> Launcher: ...
@overload
def build(kind: Literal["deployer"], component: Component) -> Deployer: ...
@overload
def build(kind: Literal["image_builder"], component: Component) -> ImageBuilder: ...
@overload
def build(kind: Literal["container_registry"], component: Component) -> ContainerRegistry: ...
@overload
def build(kind: Literal["secret_store"], component: Component) -> SecretStore: ...
@overload
def build(kind: str, component: Component) -> object: ...
def build(kind: str, component: Component) -> object:
    """The implementation that `component` describes, made with its options.

    Raises `InvalidInput` for an unknown kind, flavor or option and for one that is missing, and `Unavailable` if a
    plug-in is installed but broken.
    """
    implementation = find(kind, component.flavor)
    faults = _option_faults(kind, component, implementation)
    if faults:
        raise InvalidInput(f"The options of {kind} '{component.flavor}' do not fit.", errors=faults)
    built = implementation(**component.options)
    contract = _CONTRACTS.get(kind)
    if contract is not None and not isinstance(built, contract):
        raise Unavailable(
            f"Flavor '{component.flavor}' ({implementation.__module__}.{implementation.__qualname__}) does not keep the "
            f"contract of kind '{kind}': see {contract.__name__} in penstock.stack.contracts."
        )
    return built


def find(kind: str, flavor: str) -> type:
    """The class of this flavor. Raises like `build`."""
    name = f"{kind}.{flavor}"
    source = _BUILT_IN.get(name) or _plug_ins().get(name)
    if source is None:
        raise _unknown(kind, flavor)
    module, _, attribute = source.partition(":")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise Unavailable(
            f"Flavor '{flavor}' of kind '{kind}' is registered as {source}, which cannot be imported: {error}. "
            "Install what is missing, or update the package that registers it."
        ) from error
    if not isinstance(found, type):
        raise Unavailable(f"Flavor '{flavor}' of kind '{kind}' is registered as {source}, which is not a class.")
    return found


def requirements(kind: str, component: Component) -> tuple[str, ...]:
    """What must be installed, besides Penstock, where this component is used. Raises like `build`."""
    name = f"{kind}.{component.flavor}"
    if name in _BUILT_IN:
        extra = getattr(build(kind, component), "extra", None)
        return () if extra is None else (f"penstock[{extra}]",)
    entry = next((one for one in _entries() if one.name == name), None)
    if entry is None:
        raise _unknown(kind, component.flavor)
    return () if entry.dist is None else (f"{entry.dist.name}=={entry.dist.version}",)


def same_place(kind: str, one: Component, other: Component) -> bool:
    """Whether what is with `one` is where `other` says. A flavor lists the options that say where, in `place`; else all do."""
    if one.flavor != other.flavor:
        return False
    place = getattr(find(kind, one.flavor), "place", None)
    names = {*one.options, *other.options} if place is None else place
    return all(one.options.get(name) == other.options.get(name) for name in names)


def flavors() -> dict[str, list[str]]:
    """Every kind with the names of its flavors, plug-ins included."""
    known: dict[str, list[str]] = {kind: [] for kind in _CONTRACTS}
    for name in sorted({**_BUILT_IN, **_plug_ins()}):
        kind, _, flavor = name.partition(".")
        known.setdefault(kind, []).append(flavor)
    return known


@cache
def _plug_ins() -> dict[str, str]:
    return {entry.name: entry.value for entry in _entries()}


def _entries() -> tuple[EntryPoint, ...]:
    # Here and not above: importing importlib.metadata takes longer than everything else in this file.
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))


def _unknown(kind: str, flavor: str) -> InvalidInput:
    known = flavors()
    if kind not in known:
        problem = fault(pointer(kind), "There is no such kind of component.", allowed=known, given=kind)
        return InvalidInput(f"A stack has no component of kind '{kind}'.", errors=[problem])
    message = "There is no such flavor. Others come with plug-in packages."
    problem = fault(pointer(kind, "flavor"), message, allowed=known[kind], given=flavor)
    return InvalidInput(f"Kind '{kind}' has no flavor '{flavor}'.", errors=[problem])


def _option_faults(kind: str, component: Component, implementation: type) -> list[dict[str, Any]]:
    parameters = inspect.signature(implementation).parameters.values()
    named = {one.name: one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    faults = []
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        faults += [
            fault(pointer(kind, "options", name), "The flavor has no such option.", allowed=named, given=name)
            for name in component.options
            if name not in named
        ]
    faults += [
        fault(pointer(kind, "options", name), "This option is needed.")
        for name, one in named.items()
        if one.default is one.empty and name not in component.options
    ]
    return faults
