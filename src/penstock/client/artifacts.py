"""Artifacts: their records and their bytes. Turning bytes into values is the runtime's work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from penstock.client.connection import Connection, given, path
from penstock.client.page import Page
from penstock.errors import ArtifactError, NotFound, fault
from penstock.ids import digest_of, new_id
from penstock.model.artifact import Artifact, File, Lineage, Pruned


class Artifacts:
    """The values that steps made."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, ref: str) -> Artifact:
        """The record of this artifact: an id, a name (its latest version) or `name@version`. Raises `NotFound`."""
        return self._connection.fetch(Artifact, "GET", path("artifacts", ref))

    def list(
        self,
        *,
        run_id: str | None = None,
        step: str | None = None,
        name: str | None = None,
        size: int = 20,
        cursor: str | None = None,
    ) -> Page[Artifact]:
        """One page of artifacts, newest first; `step` is an invocation id of the run."""
        query = {"run_id": run_id, "step": step, "name": name, "size": size, "cursor": cursor}
        return self._connection.fetch(Page[Artifact], "GET", "/artifacts", query=query)

    def register(self, artifact: Artifact) -> Artifact:
        """Keep the record of a value whose files are in the artifact store; it comes back with its version."""
        return self._connection.fetch(Artifact, "POST", "/artifacts", json=artifact)

    def annotate(
        self,
        ref: str,
        *,
        user_metadata: Mapping[str, Any] | None = None,
        add_tags: Iterable[str] = (),
        remove_tags: Iterable[str] = (),
    ) -> Artifact:
        """Note metadata and tags on an artifact."""
        notes = given(user_metadata=user_metadata, add_tags=[*add_tags], remove_tags=[*remove_tags])
        return self._connection.fetch(Artifact, "PATCH", path("artifacts", ref), json=notes)

    def lineage(self, ref: str, *, limit: int = 100) -> Lineage:
        """Where an artifact comes from, and at most `limit` places in which it stands."""
        return self._connection.fetch(Lineage, "GET", path("artifacts", ref, "lineage"), query={"limit": limit})

    def prune(self, *, older_than_days: float = 1, named: bool = False, dry_run: bool = False) -> Pruned:
        """Remove artifacts that stand in no run (those with a name only if `named`), and blobs that no artifact has.

        Nothing younger than an hour goes. With `dry_run` nothing goes: the answer says what would.
        """
        body = {"older_than_days": older_than_days, "named": named, "dry_run": dry_run}
        return self._connection.fetch(Pruned, "POST", "/artifacts/prune", json=body, timeout=3600.0)

    def read(self, artifact: Artifact, file: str) -> bytes:
        """The bytes of one of the artifact's files, checked against the digest in its record.

        Raises `NotFound` if the artifact has no such file, `ArtifactError` if the bytes are not those that were saved.
        """
        record = _file(artifact, file)
        data = self._connection.send("GET", path("artifacts", artifact.id, "files", file)).body
        if digest_of(data) != record.digest:
            raise _damaged(artifact, file)
        return data

    def download(self, artifact: Artifact, file: str, target: Path) -> None:
        """Write one of the artifact's files, of any size, to `target`, whose folder exists; what is there is replaced.

        It appears whole and checked, or not at all. Raises what `read` raises, and `OSError` if it cannot be written.
        """
        record, found = _file(artifact, file), hashlib.sha256()
        partial = target.with_name(f".penstock-{new_id()}")
        try:
            with partial.open("xb") as written:
                for block in self._connection.blocks(path("artifacts", artifact.id, "files", file)):
                    found.update(block)
                    written.write(block)
            if found.hexdigest() != record.digest:
                raise _damaged(artifact, file)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _file(artifact: Artifact, name: str) -> File:
    record = next((one for one in artifact.files if one.name == name), None)
    if record is None:
        names = [one.name for one in artifact.files]
        wrong = fault("/file", f"There is no file '{name}'.", allowed=names, given=name)
        raise NotFound(f"Artifact {artifact.id} has no file '{name}'.", errors=[wrong])
    return record


def _damaged(artifact: Artifact, file: str) -> ArtifactError:
    return ArtifactError(f"File '{file}' of artifact {artifact.id} is damaged: it has not the recorded digest.")
