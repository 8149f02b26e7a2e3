"""Artifacts: their records and their bytes. Turning bytes into values is the runtime's work."""

from __future__ import annotations

from penstock.client.connection import Connection, path
from penstock.client.page import Page
from penstock.errors import ArtifactError, NotFound, fault
from penstock.ids import digest_of
from penstock.model.artifact import Artifact


class Artifacts:
    """The values that steps made."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, artifact_id: str) -> Artifact:
        """The record of this artifact. Raises `NotFound`."""
        return self._connection.fetch(Artifact, "GET", path("artifacts", artifact_id))

    def list(
        self, *, run_id: str | None = None, step: str | None = None, size: int = 20, cursor: str | None = None
    ) -> Page[Artifact]:
        """One page of artifacts, newest first; `step` is an invocation id of the run."""
        query = {"run_id": run_id, "step": step, "size": size, "cursor": cursor}
        return self._connection.fetch(Page[Artifact], "GET", "/artifacts", query=query)

    def read(self, artifact: Artifact, file: str) -> bytes:
        """The bytes of one of the artifact's files, checked against the digest in its record.

        Raises `NotFound` if the artifact has no such file, `ArtifactError` if the bytes are not those that were saved.
        """
        record = next((one for one in artifact.files if one.name == file), None)
        if record is None:
            names = [one.name for one in artifact.files]
            wrong = fault("/file", f"There is no file '{file}'.", allowed=names, given=file)
            raise NotFound(f"Artifact {artifact.id} has no file '{file}'.", errors=[wrong])
        data = self._connection.send("GET", path("artifacts", artifact.id, "files", file)).body
        if digest_of(data) != record.digest:
            raise ArtifactError(f"File '{file}' of artifact {artifact.id} is damaged: it has not the recorded digest.")
        return data
