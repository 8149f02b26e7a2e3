"""An artifact: a typed value that a step made. Its bytes are addressed by content in the artifact store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from penstock.errors import InvalidInput, fault
from penstock.ids import digest_of, is_digest

REFERENCE_SCHEMA = {
    "type": "string",
    "format": "artifact-reference",
    "description": "An artifact: its id, artifact:name (its latest version) or artifact:name@version.",
}
"""JSON Schema of what is given for a value that is an artifact."""

FROZEN = "artifact:"
"""What stands before the id of an artifact in the parameters of a run."""


def is_reference(described: Mapping[str, Any]) -> bool:
    """Whether a parameter with this schema is an artifact."""
    kinds = (described, *described.get("anyOf", ()))
    return any(one.get("format") == REFERENCE_SCHEMA["format"] for one in kinds)


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

    name: str | None = None
    """Under which its versions gather; None for a value that nobody named."""

    version: str | None = None
    """Unique under its name. Where nobody chose one, the next number."""

    tags: tuple[str, ...] = ()
    user_metadata: dict[str, Any] = field(default_factory=dict)
    """What code and people noted of it."""

    run_id: str | None = None
    """The run that made it; None if no run did, or if that run was deleted."""

    step: str | None = None
    output: str | None = None
    created: datetime


@dataclass(frozen=True, kw_only=True)
class Use:
    """One place of one run in which an artifact stands: made there, taken as an input, or given as a parameter."""

    artifact_id: str
    run_id: str
    step: str
    """The invocation id; empty for a parameter of the pipeline."""

    kind: Literal["output", "input", "parameter"]
    name: str
    """Of the output, the argument or the parameter."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where an artifact comes from and where it goes: the uses of it, and what went into the step that made it."""

    artifact: Artifact
    used: tuple[Use, ...]
    """Newest run first; at most as many as were asked for."""

    made_from: tuple[Use, ...]
    """The inputs of the step run that made it."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was removed, or would be: records of artifacts, and blobs in the artifact store with their bytes."""

    artifacts: int
    blobs: int
    bytes: int
    dry_run: bool


def check_files(files: Sequence[File]) -> None:
    """Raise `InvalidInput` unless each file has a name inside of a folder, of its own, and a digest.

    Whoever downloads an artifact makes files of these names.
    """
    for index, file in enumerate(files):
        parts = file.name.split("/")
        if not all(parts) or {".", ".."} & set(parts) or "\0" in file.name or not is_digest(file.digest):
            mistake = fault(
                f"/files/{index}", f"'{file.name[:200]}' is no name inside of a folder, or the digest is none."
            )
            raise InvalidInput("A file of the artifact cannot be kept so.", errors=[mistake])
    if len({file.name for file in files}) < len(files):
        raise InvalidInput("The artifact has two files of one name.")


def parse_reference(text: str) -> tuple[str, str | None]:
    """`name`, `name@version` or an id, with or without `artifact:` in front, as name (or id) and version."""
    name, _, version = text.removeprefix("artifact:").partition("@")
    return name, version or None


def artifact_digest(files: Sequence[File]) -> str:
    """The digest of an artifact: that of its only file, or of the sorted list of its files."""
    if len(files) == 1:
        return files[0].digest
    listing = [asdict(file) for file in sorted(files, key=lambda file: file.name)]
    return digest_of(json.dumps(listing, sort_keys=True, separators=(",", ":")).encode())
