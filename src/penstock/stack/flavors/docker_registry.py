"""Where images are: in the engine that has built them, or in a registry that speaks Docker's protocol."""

from __future__ import annotations

import re

from penstock.errors import Forbidden, InvalidInput, Unavailable, fault
from penstock.stack.flavors.docker_engine import connect, translated

_PREFIX = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")


class DockerRegistry:
    """The container registry `docker`. `prefix` is what names begin with: `registry.example.com/team`.

    Without one nothing is pushed: images stay in the engine. Who may push is for the engine's own configuration to say
    (`docker login` on the machine of the server): no component holds a password.
    """

    extra = "docker"

    def __init__(self, prefix: str = "", engine: str | None = None) -> None:
        if prefix and not _PREFIX.fullmatch(prefix):
            mistake = fault("/container_registry/options/prefix", "Expected `host[:port]/path`, without a scheme.")
            raise InvalidInput(f"{prefix!r} is no place in a registry.", errors=[mistake])
        self._prefix = prefix
        self._engine = engine

    def reference(self, repository: str, tag: str) -> str:
        """See `ContainerRegistry`."""
        return f"{self._prefix}/{repository}:{tag}" if self._prefix else f"{repository}:{tag}"

    def push(self, reference: str) -> str:
        """See `ContainerRegistry`. What was pushed is named by its digest: nobody can put another one in its place."""
        if not self._prefix:
            return reference
        client = connect(self._engine, patience=600.0)
        try:
            with translated():
                for told in client.api.push(reference, stream=True, decode=True):
                    if "error" in told:
                        raise _refused(reference, str(told["error"]))
                names = client.images.get(reference).attrs.get("RepoDigests") or ()
        finally:
            client.close()
        repository = reference.rpartition(":")[0]
        return next((name for name in names if name.partition("@")[0] == repository), reference)


def _refused(reference: str, why: str) -> Forbidden | Unavailable:
    if any(word in why.lower() for word in ("denied", "unauthorized", "authentication", "credentials", "forbidden")):
        return Forbidden(f"{reference} cannot be pushed: {why}. `docker login` on the machine of the server lets it.")
    return Unavailable(f"{reference} cannot be pushed: {why}.")
