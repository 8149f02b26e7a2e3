"""OpenLineage events: their form, who they reach, and that runs do not care."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema_rs
import pytest

from penstock.control import lineage, runs
from penstock.control.lineage import Lineage, event
from penstock.ids import digest_of, new_id
from penstock.model.artifact import Artifact, File, Use
from penstock.model.run import Cause
from penstock.store import artifacts
from tests.unit.control.conftest import House

FACET = {
    "type": "object",
    "required": ["_producer", "_schemaURL"],
    "properties": {"_producer": {"type": "string", "format": "uri"}, "_schemaURL": {"type": "string", "format": "uri"}},
}
FACETS = {"type": "object", "additionalProperties": FACET}
JOB = {
    "type": "object",
    "required": ["namespace", "name"],
    "properties": {"namespace": {"type": "string"}, "name": {"type": "string"}, "facets": FACETS},
}
RUN = {
    "type": "object",
    "required": ["runId"],
    "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": FACETS},
}
DATASETS = {"type": "array", "items": JOB}
SPEC = jsonschema_rs.validator_for(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["eventTime", "producer", "schemaURL", "run", "job"],
        "properties": {
            "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
            "eventTime": {"type": "string", "format": "date-time"},
            "producer": {"type": "string", "format": "uri"},
            "schemaURL": {"type": "string", "format": "uri"},
            "run": RUN,
            "job": JOB,
            "inputs": DATASETS,
            "outputs": DATASETS,
        },
    },
    validate_formats=True,
)
"""What the specification says of a run event (2-0-2), as far as it concerns ours."""


@contextmanager
def catalogue(status: Callable[[], int] = lambda: 201) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A catalogue that keeps what it is told; its address, and what it has."""
    told: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = status()
            if answer < 300:
                told.append(body)
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/v1/lineage", told
    server.shutdown()
    thread.join()
    server.server_close()


def made(house: House, run_id: str, called: str | None = None, **use: str) -> Artifact:
    file = File(name="value", digest=digest_of(b""), size=0)
    artifact = Artifact(
        id=new_id(),
        digest=file.digest,
        files=(file,),
        size=0,
        type="int",
        materializer="json",
        name=called,
        step="fit",
        output="model",
        run_id=run_id,
        created=datetime.now(UTC),
    )
    with house.here.db.write() as session:
        (kept,) = artifacts.insert(session, [artifact])
        artifacts.note_uses(session, [Use(artifact_id=kept.id, run_id=run_id, step="fit", **use)])  # type: ignore[arg-type]
    return kept


def told_of(house: House, run_id: str) -> dict[str, Any]:
    with house.here.db.read() as session:
        found = event(session, house.run(run_id), datetime.now(UTC), "ours")
    SPEC.validate(json.loads(json.dumps(found)))
    return found


def test_it_is_what_the_specification_asks_for(daily: House) -> None:
    parent = daily.start().run
    run = daily.start(depth=4, cause=Cause(kind="step", parent_run_id=parent.id, parent_step="fit")).run
    made(daily, run.id, "data", kind="input", name="table")
    made(daily, run.id, kind="output", name="model")
    with daily.here.db.write() as session:
        runs.cancel(session, daily.here, run.id)
    found = told_of(daily, run.id)
    assert (found["eventType"], found["run"]["runId"], found["job"]["name"]) == ("ABORT", run.id, "train")
    assert found["run"]["facets"]["parent"]["run"]["runId"] == parent.id
    assert [one["name"] for one in found["inputs"]] == ["data"]
    assert [one["name"] for one in found["outputs"]] == ["train/fit/model"]
    assert found["outputs"][0]["facets"]["version"]["datasetVersion"]


def waited(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # poll: another thread sends


def ended(house: House) -> str:
    run = house.start().run
    with house.here.db.write() as session:
        runs.cancel(session, house.here, run.id)
    return run.id


def counted(house: House, outcome: str) -> float:
    return float(house.here.metrics.lineage.labels(outcome)._value.get())


class TestSending:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lineage, "TIMEOUT", 1.0)

    def test_ends_are_told_and_a_catalogue_that_stumbles_is_asked_again(self, daily: House) -> None:
        answers = iter([503, 201])
        with catalogue(lambda: next(answers, 201)) as (url, told):
            sender = Lineage(daily.here, url)
            daily.here.run_changed.append(sender.note)
            sender.start()
            run = ended(daily)
            waited(lambda: told)
            sender.stop()
        assert [(one["eventType"], one["run"]["runId"]) for one in told] == [("ABORT", run)]
        SPEC.validate(told[0])
        assert counted(daily, "sent") == 1

    def test_a_catalogue_that_is_away_costs_runs_nothing(self, daily: House) -> None:
        sender = Lineage(daily.here, "http://127.0.0.1:1/none")
        daily.here.run_changed.append(sender.note)
        sender.start()
        run = ended(daily)
        assert daily.run(run).state == "cancelled"
        waited(lambda: counted(daily, "lost") == 1)
        sender.stop()

    def test_what_does_not_fit_in_is_dropped_and_counted(self, daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lineage, "WAITING", 2)
        sender = Lineage(daily.here, "http://127.0.0.1:1/none")  # never started: nobody takes anything out
        daily.here.run_changed.append(sender.note)
        for _ in range(5):
            ended(daily)
        assert counted(daily, "dropped") == 3
