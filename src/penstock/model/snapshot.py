"""A snapshot: a pipeline frozen. Its id is the digest of its content, so freezing the same thing twice gives the same id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any

from penstock.ids import digest_of, id_from_digest
from penstock.model.configuration import PipelineRunConfiguration, is_open
from penstock.model.graph import Graph
from penstock.model.requirements import Requirements

FORMAT = 1
"""Version of the frozen format. A reader must refuse a format that it does not know."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the code was frozen with. `executable` is a hint for this machine: used if it exists, told if not."""

    python: str
    requires: Requirements | None = None
    """What was declared that it needs. None: nothing was, and whoever runs it sees to that."""

    executable: str | None = None
    platform: str | None = None
    preload: tuple[str, ...] = ()
    """Modules of installed packages that are imported before the code."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything that makes a snapshot what it is; it never changes."""

    format: int = FORMAT
    pipeline: str
    source: str
    """`module:attribute` of the pipeline inside the code archive."""

    code: str | None = None
    """Digest of the code archive. None: the code could not be archived (`code_note` says why); it cannot be run again."""

    code_note: str | None = None
    description: str | None = None
    graph: Graph = field(default_factory=Graph)
    parameter_schema: dict[str, Any] = field(default_factory=dict)
    """JSON Schema 2020-12, type `object`: the pipeline function's signature."""

    output_schema: dict[str, Any] = field(default_factory=dict)
    """JSON Schema 2020-12, type `object`: the outputs that a run will have."""

    environment: Environment
    stack: str = "default"
    configuration: PipelineRunConfiguration = field(default_factory=PipelineRunConfiguration)
    """What the code says of the pipeline."""

    given: PipelineRunConfiguration = field(default_factory=PipelineRunConfiguration)
    """What was said of its runs when it was frozen: under what a single run is given, over all that the code says."""

    def digest(self) -> str:
        """SHA-256 of the canonical JSON form: sorted keys, no white space, nothing that is as it is when nobody said it.

        So a field that a later Penstock adds changes no digest unless it is used.
        """
        text = json.dumps(_canonical(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return digest_of(text.encode())


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A frozen pipeline as the server keeps it."""

    id: str
    pipeline_id: str
    content: Content
    names: tuple[str, ...] = ()
    """The names people gave it. A name belongs to one snapshot of a pipeline at a time."""

    created: datetime

    @property
    def runnable(self) -> bool:
        """Whether a launcher can carry it out: its code is archived."""
        return self.content.code is not None


def _canonical(value: Any) -> Any:
    if is_dataclass(value):
        members = ((one, getattr(value, one.name)) for one in fields(value))
        return {one.name: _canonical(member) for one, member in members if not is_open(member, one)}
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    return [_canonical(item) for item in value] if isinstance(value, list | tuple) else value


def snapshot_id(content: Content) -> str:
    """The id of the snapshot with this content."""
    return id_from_digest(content.digest())
