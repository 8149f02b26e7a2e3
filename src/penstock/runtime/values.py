"""Where the values of a run are between its steps: in the artifact store, or in memory for as long as the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from penstock.ids import new_id
from penstock.model.artifact import Artifact
from penstock.runtime import materializers
from penstock.stack.contracts import ArtifactStore

_SHARED = (str, int, float, bool, bytes, type(None))
"""Types whose values cannot be changed: steps may share them in memory, everything else is loaded afresh."""

_SHARED_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """One output of a step that has ended: its record, and the value itself where it is in memory."""

    artifact: Artifact
    value: Any = None
    shared: bool = False
    """Steps may have the very value: nothing that they do changes it."""

    foreign: bool = False
    """Another run made it."""

    held: bool = False
    """The value is here and nowhere else."""


class Values(Protocol):
    """What keeps the values of a run."""

    recorded: bool
    """Whether they are artifacts that others will find."""

    def save(self, value: Any, *, run_id: str, step: str, output: str) -> Kept:
        """Keep what a step made. Raises `ArtifactError` if it cannot be kept."""

    def load(self, kept: Kept, wanted: Any, *, allow_code: bool) -> Any:
        """The value, as a step may have it that is free to change it; `wanted` is the type that it would like."""

    def as_json(self, kept: Kept) -> Any:
        """What stands for the value in the outputs of the run."""


class Stored:
    """Values in an artifact store."""

    recorded = True

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def save(self, value: Any, *, run_id: str, step: str, output: str) -> Kept:
        """See `Values`."""
        artifact = materializers.save(value, self._store, id=new_id(), run_id=run_id, step=step, output=output)
        shared = isinstance(value, _SHARED) and artifact.size <= _SHARED_LIMIT
        return Kept(artifact, value if shared else None, shared)

    def load(self, kept: Kept, wanted: Any, *, allow_code: bool) -> Any:
        """See `Values`."""
        return materializers.load(kept.artifact, self._store, type_hint=wanted, allow_code=allow_code)

    def as_json(self, kept: Kept) -> Any:
        """JSON where it is small, otherwise a reference to the artifact."""
        inline = materializers.inline(kept.artifact, self._store)
        return inline.value if inline is not None else {"artifact": kept.artifact.id, "type": kept.artifact.type}


class InMemory:
    """Values that nobody will look for when the run has ended. What other runs made is still loaded from the store.

    Lists and mappings are copied for whoever takes them. Everything else (arrays, frames, models) is handed on as it is: a
    step that changes one in place changes it for all.
    """

    recorded = False

    def __init__(self, store: ArtifactStore) -> None:
        self._stored = Stored(store)

    def save(self, value: Any, *, run_id: str, step: str, output: str) -> Kept:
        """See `Values`."""
        if hasattr(value, "__next__"):
            value = list(value)
        kind = type(value)
        artifact = Artifact(
            id="",
            digest="",
            files=(),
            size=0,
            type=f"{kind.__module__}.{kind.__qualname__}",
            materializer="",
            run_id=run_id,
            step=step,
            output=output,
            created=datetime.now(UTC),
        )
        return Kept(artifact, value, isinstance(value, _SHARED), held=True)

    def load(self, kept: Kept, wanted: Any, *, allow_code: bool) -> Any:
        """See `Values`."""
        return _own(kept.value) if kept.held else self._stored.load(kept, wanted, allow_code=allow_code)

    def as_json(self, kept: Kept) -> Any:
        """The value itself: whoever answers with it says how it is written."""
        return kept.value if kept.held else self._stored.as_json(kept)


def _own(value: Any) -> Any:
    """`value`, with lists and mappings copied as far down as they go."""
    kind = type(value)
    if kind is list:
        return [_own(item) for item in value] if any(type(item) in (list, dict) for item in value) else value.copy()
    if kind is dict:
        return _own_mapping(value)
    return value


def _own_mapping(value: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: _own(item) for key, item in value.items()}
