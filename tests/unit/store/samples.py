"""Records to put into a store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.ids import new_id
from penstock.model.graph import Binding, Graph, Invocation, Output
from penstock.model.run import LogLine, Run, RunState, StepRun
from penstock.model.snapshot import Content, Environment, Snapshot, snapshot_id
from penstock.model.template import Template, TemplateVersion
from penstock.store import pipelines, snapshots
from penstock.store.session import WriteSession

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
CODE = "c" * 64

# JSON that databases like to change or to refuse.
HOSTILE = {
    "nul": "a\x00b",
    "face": "\U0001f600 \u202e",
    "": [],
    "big": 2**64 + 1,
    "negative zero": -0.0,
    "tiny": 5e-324,
    "deep": [[[[{"a": None}]]]],
}


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def content(pipeline: str = "train", **changes: Any) -> Content:
    rate = Binding(kind="parameter", name="rate")
    nested = Binding(kind="items", items=(rate, Binding(kind="value", value={"a": [1, None, 2.5]})), keys=("x", "y"))
    fit = Invocation(
        id="fit",
        step="fit",
        source="project:fit",
        inputs={"rate": rate, "nested": nested},
        outputs=(Output(name="output", type="builtins.float"),),
        schema={"type": "object", "properties": {"rate": {"type": "number", "default": -0.0}}},
    )
    whole = Content(
        pipeline=pipeline,
        source="project:train",
        code=CODE,
        graph=Graph(invocations=(fit,), outputs={"score": Binding(kind="output", step="fit", output="output")}),
        parameter_schema={"type": "object", "properties": {"rate": {"type": "number", "default": 1e-5}}},
        environment=Environment(python="3.11.7", executable="/usr/bin/python3"),
    )
    return replace(whole, **changes)


def frozen(ws: WriteSession, pipeline: str = "train", **changes: Any) -> Snapshot:
    """A snapshot in the store, with its pipeline."""
    owner, what = pipelines.get_or_create(ws, pipeline, AT), content(pipeline, **changes)
    snapshot = Snapshot(id=snapshot_id(what), pipeline_id=owner.id, content=what, created=AT)
    snapshots.insert(ws, snapshot)
    return snapshot


def a_run(snapshot: Snapshot, **changes: Any) -> Run:
    """A run that is in no store yet."""
    run_id = new_id()
    run = Run(
        id=run_id,
        name=f"train-{run_id}",
        state=RunState.QUEUED,
        pipeline_id=snapshot.pipeline_id,
        pipeline_name=snapshot.content.pipeline,
        snapshot_id=snapshot.id,
        parameters={"rate": 0.25},
        created=AT,
    )
    return replace(run, **changes)


def a_step(run: Run, step: str, **changes: Any) -> StepRun:
    return replace(StepRun(id=new_id(), run_id=run.id, step=step, name=step, created=AT), **changes)


def a_template(snapshot: Snapshot, name: str, **changes: Any) -> Template:
    template = Template(
        id=new_id(),
        name=name,
        pipeline_id=snapshot.pipeline_id,
        pipeline_name=snapshot.content.pipeline,
        versions=(TemplateVersion(version=1, snapshot_id=snapshot.id, created=AT),),
        created=AT,
    )
    return replace(template, **changes)


def a_line(text: str, step: str | None = None) -> LogLine:
    return LogLine(at=AT, stream="stdout", text=text, step=step)
