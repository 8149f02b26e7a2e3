"""Every contract of a stack component, on one page. An implementation is a class under `flavors/` or a plug-in.

Each is built with the options of its component (`Flavor(**options)`) and must be safe to use from several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from penstock.model.deployment import Plan, Standing
from penstock.model.image import Image
from penstock.model.launch import Ticket


@runtime_checkable
class Launcher(Protocol):
    """Carries out claimed runs somewhere (kind `orchestrator`).

    The process that it starts reports home by itself; a launcher never touches a run's state. Its worker must renew
    the lease while the process lives and report the exit, or let the lease run out.
    """

    def launch(self, ticket: Ticket) -> None:
        """Start the run; return when the order is placed, long before the run ends.

        May be repeated for the same run and fence: the second call does nothing. Raises if nothing was started.
        """

    def stop(self, run_id: str) -> None:
        """Stop the run's process with all its children: SIGTERM, and after the grace SIGKILL.

        Returns at once. May be repeated; an unknown run is no error.
        """

    def close(self) -> None:
        """Let go of everything that holds no run. Live runs go on."""


@runtime_checkable
class Deployer(Protocol):
    """Keeps services up somewhere (kind `deployer`). All calls may be repeated, and return without waiting for a service."""

    def apply(self, plan: Plan) -> None:
        """Have the service of this plan run. What served before serves until it is ready, and goes on if it never is.

        The same plan again changes nothing. Raises if nothing was begun.
        """

    def state(self, deployment_id: str) -> Standing:
        """How it stands, as it is now; an unknown one is absent."""

    def logs(self, deployment_id: str, tail: int) -> list[str]:
        """The last lines that its service has printed; none for an unknown one."""

    def remove(self, deployment_id: str) -> None:
        """Take it down: requests under way may end. An unknown one is no error."""


@runtime_checkable
class ManifestDeployer(Deployer, Protocol):
    """A deployer whose services are objects of a cluster, which others may look at or keep somewhere."""

    def manifests(self, plan: Plan) -> list[dict[str, Any]]:
        """What the service of this plan consists of, with a placeholder for each credential. Nothing is applied."""


@runtime_checkable
class ContainerRegistry(Protocol):
    """Where images are, for whoever runs them (kind `container_registry`)."""

    def reference(self, repository: str, tag: str) -> str:
        """The name of an image here. Equal arguments, equal name."""

    def push(self, reference: str) -> str:
        """Have the registry hold an image that was just built under this name; the name by which it is to be run.

        Takes as long as it takes. May be repeated. Raises `Unavailable`, or `Forbidden` if the registry does not let us.
        """


@runtime_checkable
class ImageBuilder(Protocol):
    """Makes images of services (kind `image_builder`)."""

    def build(self, image: Image, registry: ContainerRegistry, say: Callable[[str], None]) -> str:
        """See to it that there is such an image, and that the registry has it; the name by which it is to be run.

        Takes as long as it takes, and tells `say` each line that it has to tell; an error that `say` raises ends it. The
        same content is built once: it is named by it. Any number of processes may do this at once. No credentials get into
        an image. Raises `EnvironmentFailed` with the last lines, or `Unavailable`.
        """


@runtime_checkable
class SecretStore(Protocol):
    """Where secrets are (kind `secret_store`). Asked in the process of a run, when one of its steps needs a value."""

    def get(self, name: str) -> Mapping[str, str]:
        """The values of a secret by key. Raises `NotFound`, `Unavailable`; no message holds a value."""


@runtime_checkable
class ArtifactStore(Protocol):
    """Immutable blobs under their SHA-256 (kind `artifact_store`).

    A blob is visible under its digest only when it is whole. All calls may be repeated.
    """

    def put(self, data: bytes | Path) -> tuple[str, int]:
        """Store bytes or a file's content; return its SHA-256 and size.

        Storing what is there already changes nothing but its age: within the hour it counts as stored now.

        Raises `StorageFull` if there is no room, `Unavailable` if the store cannot be reached.
        """

    def get(self, digest: str) -> bytes:
        """The blob's bytes, checked against the digest. Raises `NotFound`, or `ArtifactError` if they do not match."""

    def fetch(self, digest: str, target: Path) -> None:
        """Write the blob to `target`, checked against the digest, without holding it in memory. Raises like `get`."""

    def exists(self, digest: str) -> bool:
        """Whether the blob is there."""

    def open(self, digest: str) -> BinaryIO:
        """A reader of the blob, unchecked; for streaming to somebody who checks. Raises `NotFound`."""

    def facts(self, digest: str) -> tuple[int, datetime]:
        """The blob's size in bytes, and when it was stored last. Raises `NotFound`."""

    def delete(self, digest: str, *, stored_before: datetime) -> bool:
        """Remove the blob, unless it was stored since that moment or is not there; whether it was removed.

        Whoever calls this knows that nobody refers to it.
        """

    def digests(self) -> Iterator[str]:
        """The digests of all blobs, in no order."""
