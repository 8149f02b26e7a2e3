"""Penstock: freeze a machine-learning pipeline once, and let anything pull the gate.

Names load when they are first used: `import penstock` costs nothing, whichever part of it a process needs.
"""

from __future__ import annotations

from penstock.version import VERSION as __version__

TYPE_CHECKING = False  # what type checkers know as true; importing `typing` for it would cost more than all of this
if TYPE_CHECKING:
    from penstock.author.mapping import unmapped
    from penstock.author.pipeline import pipeline
    from penstock.author.step import step
    from penstock.client.client import Client
    from penstock.model.configuration import (
        CachePolicy,
        DockerSettings,
        PipelineRunConfiguration,
        ResourceSettings,
        StepConfiguration,
        StepRetryConfig,
    )
    from penstock.model.graph import ArtifactConfig
    from penstock.model.idempotency import IdempotencyKey
    from penstock.model.run import Run
    from penstock.runtime.artifacts import UnmaterializedArtifact, load_artifact, save_artifact
    from penstock.runtime.context import get_step_context
    from penstock.runtime.notes import add_tags, log_metadata, remove_tags
    from penstock.values import HTML, Markdown

__all__ = [
    "HTML",
    "ArtifactConfig",
    "CachePolicy",
    "Client",
    "DockerSettings",
    "IdempotencyKey",
    "Markdown",
    "PipelineRunConfiguration",
    "ResourceSettings",
    "Run",
    "StepConfiguration",
    "StepRetryConfig",
    "UnmaterializedArtifact",
    "__version__",
    "add_tags",
    "get_step_context",
    "load_artifact",
    "log_metadata",
    "pipeline",
    "remove_tags",
    "save_artifact",
    "step",
    "unmapped",
]

_HOMES = {
    "ArtifactConfig": "penstock.model.graph",
    "CachePolicy": "penstock.model.configuration",
    "Client": "penstock.client.client",
    "DockerSettings": "penstock.model.configuration",
    "HTML": "penstock.values",
    "IdempotencyKey": "penstock.model.idempotency",
    "Markdown": "penstock.values",
    "PipelineRunConfiguration": "penstock.model.configuration",
    "ResourceSettings": "penstock.model.configuration",
    "Run": "penstock.model.run",
    "StepConfiguration": "penstock.model.configuration",
    "StepRetryConfig": "penstock.model.configuration",
    "UnmaterializedArtifact": "penstock.runtime.artifacts",
    "add_tags": "penstock.runtime.notes",
    "get_step_context": "penstock.runtime.context",
    "load_artifact": "penstock.runtime.artifacts",
    "log_metadata": "penstock.runtime.notes",
    "pipeline": "penstock.author.pipeline",
    "remove_tags": "penstock.runtime.notes",
    "save_artifact": "penstock.runtime.artifacts",
    "step": "penstock.author.step",
    "unmapped": "penstock.author.mapping",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'penstock' has no attribute '{name}'")
    from importlib import import_module  # the lazy public face: nothing is imported before it is asked for

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
