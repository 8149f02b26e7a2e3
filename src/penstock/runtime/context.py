"""Where the code of a step finds out in which step of which run it is."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from penstock.client.client import Client
from penstock.errors import PenstockError
from penstock.model.artifact import Artifact
from penstock.model.run import Run
from penstock.runtime.journal import Reporter
from penstock.stack.contracts import ArtifactStore


class NoStep(PenstockError, RuntimeError):
    """This can only be asked inside a running step."""

    slug = "no-step"


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """The step that is running, as its own code may see it."""

    run_id: str
    run_name: str
    pipeline_name: str
    step: str
    """The invocation id."""

    step_name: str
    """The step's own name."""

    attempt: int = 1
    """1, and one more with each retry."""

    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    """Argument -> record of the artifact that it is."""

    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the configuration says under `extra`."""

    pipeline_state: Any = None
    """What the pipeline's `on_init` hook returned."""

    store: ArtifactStore = field(repr=False)
    journal: Reporter = field(repr=False)
    noted: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    """Output name -> what is to be noted on its artifact."""

    @property
    def pipeline_run(self) -> Run:
        """The record of the run as the server has it now."""
        return Client().runs.get(self.run_id)

    def add_output_metadata(self, metadata: Mapping[str, Any], output_name: str | None = None) -> None:
        """Note something on the artifact that an output of this step will be; without a name, on the only one."""
        self.noted.setdefault(output_name or "", {}).update(metadata)


current: ContextVar[StepContext | None] = ContextVar("step_context", default=None)
"""The step whose code is running here. Threads and tasks that it starts with its context know it too."""


def get_step_context() -> StepContext:
    """The step that is running. Raises `NoStep` anywhere else, also where a step is called as a plain function."""
    found = current.get()
    if found is None:
        raise NoStep("get_step_context() was called outside of a running step.")
    return found
