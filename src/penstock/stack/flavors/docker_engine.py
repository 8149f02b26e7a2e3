"""The Docker engine, as the flavors that use one see it: how it is found, and its errors as ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from penstock.errors import Conflict, Forbidden, NotFound, Unavailable

if TYPE_CHECKING:
    from docker import DockerClient

PATIENCE = 60.0
"""Seconds that an answer of the engine may take."""


def connect(engine: str | None, *, patience: float = PATIENCE) -> DockerClient:
    """A client of the engine at this address: by default the one that the `docker` command would take.

    Safe to use from several threads. Raises `Unavailable` if there is none, or no library to speak with it.
    """
    docker = _library()
    with translated():
        if engine is not None:
            return docker.DockerClient(base_url=engine, timeout=patience, max_pool_size=32)
        if "DOCKER_HOST" not in os.environ:
            from docker.context import ContextAPI  # optional, like all of it

            context = ContextAPI.get_current_context()
            if context is not None and context.Host:
                return docker.DockerClient(
                    base_url=context.Host, tls=context.TLSConfig or False, timeout=patience, max_pool_size=32
                )
        return docker.from_env(timeout=patience, max_pool_size=32)


def address(engine: str | None) -> str:
    """Where that engine is, for people and for whoever wants to know whether it is on this machine."""
    if engine is not None:
        return engine
    if host := os.environ.get("DOCKER_HOST"):
        return host
    _library()
    from docker.context import ContextAPI  # optional, like all of it

    context = ContextAPI.get_current_context()
    return str(context.Host) if context is not None and context.Host else "unix:///var/run/docker.sock"


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the engine, and of the way to it, as errors of Penstock."""
    from docker import errors  # optional, like all of it

    try:
        yield
    except errors.NotFound as error:
        raise NotFound(f"The engine has no such thing: {told(error)}.") from error
    except errors.APIError as error:
        kind = {401: Forbidden, 403: Forbidden, 409: Conflict}.get(error.status_code or 0, Unavailable)
        raise kind(f"The Docker engine refused: {told(error)}.") from error
    except (errors.DockerException, OSError) as error:  # requests raises children of OSError
        raise Unavailable(
            f"The Docker engine does not answer ({error}). Is it running, and may this user speak with it?"
        ) from error


def told(error: Any) -> str:
    """What the engine itself says."""
    return str(getattr(error, "explanation", None) or error).rstrip(". \n")


def _library() -> Any:
    try:
        import docker  # optional: `penstock[docker]`
    except ImportError as error:
        raise Unavailable(
            "The flavor `docker` needs the library of the engine: pip install 'penstock[docker]'."
        ) from error
    return docker
