"""An artifact: a typed value that a step made. Its bytes are addressed by content in the artifact store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from penstock.ids import digest_of


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of an artifact: its name inside the artifact, SHA-256 and size in bytes."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The record of a value. `code_bearing` values run code when loaded (pickle): never loaded without being asked to."""

    id: str
    digest: str
    files: tuple[File, ...]
    size: int
    type: str
    """`module.Class` of the value."""

    materializer: str
    """Name of the materializer that wrote it and can read it."""

    code_bearing: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    """Small JSON facts made when the value was saved: shape, columns, a preview."""

    run_id: str | None = None
    step: str | None = None
    output: str | None = None
    created: datetime


def artifact_digest(files: Sequence[File]) -> str:
    """The digest of an artifact: that of its only file, or of the sorted list of its files."""
    if len(files) == 1:
        return files[0].digest
    listing = [asdict(file) for file in sorted(files, key=lambda file: file.name)]
    return digest_of(json.dumps(listing, sort_keys=True, separators=(",", ":")).encode())
