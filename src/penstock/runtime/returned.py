"""What a pipeline function returned, as the JSON that the record of its run shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.author.handle import Handle
from penstock.model.artifact import Artifact
from penstock.runtime import materializers
from penstock.stack.contracts import ArtifactStore


def returned_as_json(value: Any, artifact_of: Callable[[Handle], Artifact], store: ArtifactStore) -> Any:
    """JSON as it is, the results of steps too where they are small; everything else as a reference to its artifact."""
    if isinstance(value, dict):
        return {str(key): returned_as_json(item, artifact_of, store) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [returned_as_json(item, artifact_of, store) for item in value]
    if not isinstance(value, Handle):
        return _plain(value)
    artifact = artifact_of(value)
    inline = materializers.inline(artifact, store)
    return inline.value if inline is not None else {"artifact": artifact.id, "type": artifact.type}


def _plain(value: Any) -> Any:
    """A constant: JSON as it is, everything else by the name of its type."""
    is_json = value is None or isinstance(value, str | int | float | bool)
    return value if is_json else {"type": f"{type(value).__module__}.{type(value).__qualname__}"}
