"""Artifacts for the code of steps: records without their values."""

from __future__ import annotations

from typing import Any

from penstock.model.artifact import Artifact
from penstock.runtime import materializers
from penstock.settings import Settings
from penstock.stack.contracts import ArtifactStore


class UnmaterializedArtifact:
    """What a step gets for an argument annotated with this class: the artifact itself, with its value not loaded."""

    def __init__(self, record: Artifact, store: ArtifactStore) -> None:
        self.record = record
        self._store = store

    @property
    def id(self) -> str:
        """The id, which `load_artifact` takes: hand it to another pipeline."""
        return self.record.id

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of the value: its shape, its statistics, a preview."""
        return self.record.metadata

    def load(self, type_hint: Any = None) -> Any:
        """The value, after all. Pickle is loaded only where `PENSTOCK_ALLOW_PICKLE` allows it."""
        allowed = Settings.load().allow_pickle
        return materializers.load(self.record, self._store, type_hint=type_hint, allow_code=allowed)

    def __repr__(self) -> str:
        return f"<artifact {self.record.id}: a {self.record.type}>"
