"""What a run needs of the world around it, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TextIO

from penstock.model.artifact import Artifact
from penstock.model.run import Failure
from penstock.runtime.layers import Layers
from penstock.runtime.secrets import Secrets
from penstock.runtime.step import Cache, Heard
from penstock.runtime.values import Values


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its outputs as JSON, or the failure and what user code raised."""

    outputs: dict[str, Any] | None
    error: Failure | None = None
    raised: BaseException | None = None


@dataclass(frozen=True)
class Services:
    """What a run needs of the world around it, besides the artifact store."""

    cache: Cache
    secrets: Secrets
    artifact: Callable[[str], Artifact]
    """The record of an artifact by its id."""

    values: Values | None = None
    """Where values are between steps. None: in the artifact store."""

    heard: Heard | None = None
    """Who listens to the items of steps that yield."""

    warm: Warm | None = None


@dataclass(frozen=True)
class Warm:
    """What all runs of a pipeline in this process share. Its hooks `on_init` and `on_cleanup` are not called for each."""

    layers: Layers
    """Of runs of which nothing is said besides their values."""

    state: Any = None
    """What `on_init` returned."""


@dataclass(frozen=True)
class Process:
    """The process that a run has for itself."""

    crash: TextIO
    """Where the interpreter writes what it was doing, should it have to end the process."""

    give_up: Callable[[Failure], NoReturn]
    """Report that the run failed with this, and end the process at once."""
