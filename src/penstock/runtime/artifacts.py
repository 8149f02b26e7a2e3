"""Artifacts for code: records without their values, and values by name that no step returned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from penstock.client.client import Client
from penstock.ids import check_name, new_id
from penstock.model.artifact import Artifact
from penstock.model.stack import Component
from penstock.runtime import materializers
from penstock.runtime.context import current
from penstock.settings import Settings
from penstock.stack.contracts import ArtifactStore
from penstock.stack.registry import build


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
    def name(self) -> str | None:
        """The name under which its versions gather, if it has one."""
        return self.record.name

    @property
    def version(self) -> str | None:
        """Its version, if it has a name; not known yet inside the run that makes it."""
        return self.record.version

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of the value: its shape, its statistics, a preview."""
        return self.record.metadata

    def load(self, type_hint: Any = None) -> Any:
        """The value, after all. Pickle is loaded only where `PENSTOCK_ALLOW_PICKLE` allows it."""
        return _loaded(self.record, self._store, type_hint)

    def __repr__(self) -> str:
        return f"<artifact {self.record.name or self.record.id}: a {self.record.type}>"


def save_artifact(
    data: Any,
    name: str,
    *,
    version: str | None = None,
    tags: str | Iterable[str] = (),
    user_metadata: Mapping[str, Any] | None = None,
) -> Artifact:
    """Keep a value under a name, whether a step is running or not; its record comes back with its version.

    Without a `version` it is the next number. A version that is taken gets its number behind it. Inside a step the artifact
    belongs to that step. Raises `ArtifactError` for a value that cannot be kept.
    """
    check_name(name, what="artifact")
    client, context = Client(), current.get()
    store = context.store if context is not None else _store(client)
    run, step = (context.run_id, context.step) if context is not None else (None, None)
    saved = materializers.save(data, store, id=new_id(), run_id=run, step=step, output=None)
    labels: dict[str, Any] = {
        "name": name,
        "version": version,
        "tags": (tags,) if isinstance(tags, str) else tuple(tags),
        "user_metadata": dict(user_metadata or {}),
    }
    return client.artifacts.register(replace(saved, **labels))


def keep(data: Any, client: Client) -> Artifact:
    """Keep a value that has no name, outside of any step: what a pipeline was called with."""
    return client.artifacts.register(
        materializers.save(data, _store(client), id=new_id(), run_id=None, step=None, output=None)
    )


def load_artifact(name_or_id: str, version: str | None = None, *, type_hint: Any = None) -> Any:
    """The value of an artifact: by id, by name (its latest version, or `version`), or as `name@version`.

    Inside a step it is noted as one of its inputs. Raises `NotFound`, and `ArtifactError` for a value that was stored with
    pickle, unless `PENSTOCK_ALLOW_PICKLE` allows to load those.
    """
    client, context = Client(), current.get()
    if context is not None:
        context.journal.flush()  # it may be one that this run has just made
    record = client.artifacts.get(name_or_id if version is None else f"{name_or_id}@{version}")
    if context is None:
        return _loaded(record, _store(client), type_hint)
    context.journal.write("used", step=context.step, inputs={record.name or record.id: record.id})
    return _loaded(record, context.store, type_hint, made_here=record.run_id == context.run_id)


def _loaded(record: Artifact, store: ArtifactStore, type_hint: Any, *, made_here: bool = False) -> Any:
    allowed = made_here or Settings.load().allow_pickle
    return materializers.load(record, store, type_hint=type_hint, allow_code=allowed)


def _store(client: Client) -> ArtifactStore:
    """The artifact store of the installation, for code that runs in no step."""
    component: Component = client.stacks.get("default").components["artifact_store"]
    store = build("artifact_store", component)
    assert isinstance(store, ArtifactStore)
    return store
