"""OpenLineage: what a run takes and makes, told to a catalogue when it starts and when it ends.

Telling never holds up a run, and what cannot be told is dropped and counted: the record itself is here.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.control.installation import Installation
from penstock.errors import PenstockError
from penstock.model.artifact import Artifact, Use
from penstock.model.run import Run, RunState
from penstock.store import artifacts, runs
from penstock.store.session import ReadSession
from penstock.version import VERSION

log = logging.getLogger("penstock.lineage")

PRODUCER = f"urn:penstock:{VERSION}"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/definitions/RunEvent"
PARENT = "https://openlineage.io/spec/facets/1-0-1/ParentRunFacet.json#/$defs/ParentRunFacet"
ERROR = "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet"
DATASET_VERSION = (
    "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
)

TYPES = {
    RunState.RUNNING: "START",
    RunState.COMPLETED: "COMPLETE",
    RunState.FAILED: "FAIL",
    RunState.CANCELLED: "ABORT",
}
"""What is told, by the state that a run has come to."""

WAITING = 1000
"""Events that wait to be sent; more than these are dropped."""

DATASETS = 1000
"""Most inputs and outputs that are told of one run: a run of mapped steps may have tens of thousands."""

TRIES = 3
TIMEOUT = 10.0


class Lineage:
    """One thread that sends. Runs of the same server are told in the order in which they changed."""

    def __init__(self, installation: Installation, url: str) -> None:
        self._installation = installation
        self._url = url
        self._waiting: queue.Queue[tuple[Run, datetime] | None] = queue.Queue(WAITING)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, name="penstock-lineage", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, as long as that works at once, and no more."""
        self._leaving.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join(TIMEOUT)

    def note(self, run: Run) -> None:
        """A run has come to another state. Returns at once."""
        if run.state not in TYPES:
            return
        try:
            self._waiting.put_nowait((run, datetime.now(UTC)))
        except queue.Full:
            self._count("dropped")

    def _work(self) -> None:
        while (one := self._waiting.get()) is not None:
            run, at = one
            try:
                with self._installation.db.read() as session:
                    made = event(session, run, at, self._installation.settings.lineage_namespace)
                self._send(msgspec.json.encode(made))
                self._count("sent")
            except (OSError, ValueError, PenstockError) as error:
                self._count("lost")
                log.warning("the lineage of run %s was not told: %s", run.name, error, extra={"run_id": run.id})
                if self._leaving.is_set():
                    return
            except Exception:  # one bad record must not stop all others
                self._count("lost")
                log.exception("telling the lineage of run %s failed", run.name)

    def _send(self, body: bytes) -> None:
        for attempt in range(TRIES):
            request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})  # noqa: S310  (the operator's own setting)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
                    return
            except OSError:
                if attempt == TRIES - 1 or self._leaving.is_set():
                    raise
                time.sleep(0.2 * 4**attempt)

    def _count(self, outcome: str) -> None:
        self._installation.metrics.lineage.labels(outcome).inc()


def event(rs: ReadSession, run: Run, at: datetime, namespace: str) -> dict[str, Any]:
    """What is told of a run, as OpenLineage 2.0.2 has it."""
    uses = artifacts.uses_of_run(rs, run.id, DATASETS)
    known = artifacts.get_many(rs, {use.artifact_id for use in uses})
    made = {use.artifact_id for use in uses if use.kind == "output"}
    taken = [use for use in uses if use.kind != "output" and use.artifact_id not in made]
    facets: dict[str, Any] = {}
    parent = runs.find(rs, run.cause.parent_run_id) if run.cause.parent_run_id else None
    if parent is not None:
        job = {"namespace": namespace, "name": parent.pipeline_name}
        facets["parent"] = {**_facet(PARENT), "run": {"runId": parent.id}, "job": job}
    if run.error is not None:
        told = {"message": run.error.message, "programmingLanguage": "PYTHON"}
        facets["errorMessage"] = {**_facet(ERROR), **told}
    return {
        "eventType": TYPES[run.state],
        "eventTime": (run.ended or run.started or at).isoformat(),
        "run": {"runId": run.id, "facets": facets},
        "job": {"namespace": namespace, "name": run.pipeline_name, "facets": {}},
        "inputs": _datasets(taken, known, run, namespace),
        "outputs": _datasets([use for use in uses if use.kind == "output"], known, run, namespace),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
    }


def _datasets(uses: list[Use], known: dict[str, Artifact], run: Run, namespace: str) -> list[dict[str, Any]]:
    """Each artifact once: under its name, or where nobody gave it one under that of the output that it was."""
    found: dict[str, dict[str, Any]] = {}
    for use in uses:
        artifact = known.get(use.artifact_id)
        if artifact is None or artifact.id in found:
            continue
        name = (
            artifact.name
            or f"{run.pipeline_name}/{artifact.step or use.step or 'parameters'}/{artifact.output or use.name}"
        )
        version = {**_facet(DATASET_VERSION), "datasetVersion": artifact.version or artifact.digest}
        found[artifact.id] = {"namespace": namespace, "name": name, "facets": {"version": version}}
    return list(found.values())


def _facet(schema: str) -> dict[str, str]:
    return {"_producer": PRODUCER, "_schemaURL": schema}
