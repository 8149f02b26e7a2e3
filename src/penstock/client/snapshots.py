"""Snapshots: freeze, see, run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from penstock.client.connection import Connection, path
from penstock.client.page import Page
from penstock.client.runs import Runs, Start
from penstock.errors import CodeMissing
from penstock.model.idempotency import IdempotencyKey
from penstock.model.run import Run
from penstock.model.snapshot import Content, Snapshot


class Snapshots:
    """The frozen pipelines. A `ref` is an id or a name; `pipeline` (id or name) says whose name is meant."""

    def __init__(self, connection: Connection, runs: Runs) -> None:
        self._connection, self._runs = connection, runs

    def create(
        self, content: Content, *, name: str | None = None, archive: Callable[[], bytes] | None = None
    ) -> Snapshot:
        """The snapshot with this content, made if it is new; `name`, if given, now means it.

        `archive` makes the tar of the code; it is called only if the server does not have that code yet.
        """
        body = {"content": content, "name": name}
        try:
            return self._connection.fetch(Snapshot, "POST", "/pipeline_snapshots", json=body)
        except CodeMissing:
            if archive is None or content.code is None:
                raise
        headers = {"Content-Type": "application/x-tar"}
        self._connection.send("PUT", path("code", content.code), body=archive(), headers=headers)
        return self._connection.fetch(Snapshot, "POST", "/pipeline_snapshots", json=body)

    def get(self, ref: str, *, pipeline: str | None = None) -> Snapshot:
        """The snapshot with this id or name. Raises `NotFound`."""
        return self._connection.fetch(Snapshot, "GET", path("pipeline_snapshots", ref), query={"pipeline": pipeline})

    def list(
        self, *, pipeline: str | None = None, name: str | None = None, size: int = 20, cursor: str | None = None
    ) -> Page[Snapshot]:
        """One page of snapshots, newest first."""
        query = {"pipeline": pipeline, "name": name, "size": size, "cursor": cursor}
        return self._connection.fetch(Page[Snapshot], "GET", "/pipeline_snapshots", query=query)

    def run(
        self,
        ref: str,
        *,
        pipeline: str | None = None,
        wait: float | None = None,
        idempotency_key: str | IdempotencyKey | None = None,
        plan_token: str | None = None,
        **how: Unpack[Start],
    ) -> Run:
        """Start a run of the snapshot with this id or name; the rest is as in `Runs.start`."""
        snapshot_id = ref if pipeline is None else self.get(ref, pipeline=pipeline).id
        return self._runs.start(
            snapshot_id=snapshot_id, wait=wait, idempotency_key=idempotency_key, plan_token=plan_token, **how
        )
