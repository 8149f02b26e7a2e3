from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from penstock import pipeline
from penstock.author.archive import pack
from penstock.author.freeze import freeze
from penstock.author.pipeline import Pipeline
from penstock.author.source import load_source
from penstock.errors import AuthoringError, InvalidInput
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration, said
from penstock.model.inputs import resolve
from penstock.model.snapshot import Content, Snapshot, snapshot_id
from penstock.model.template import config_template

FLOW = '''
from penstock import pipeline, step

@step
def one(n: int = 1) -> int:
    return n

@pipeline
def flow(n: int = 3, tags: set[str] = {"a", "b", "c", "d"}):
    """Count."""
    return one(n)
'''


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    root = tmp_path / "project"
    root.mkdir()
    (root / "frozen_flow.py").write_text(FLOW)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield load_source("frozen_flow:flow", root)
    del sys.modules["frozen_flow"]


def test_the_content(flow: Pipeline, tmp_path: Path) -> None:
    frozen = freeze(flow)
    content, archive = frozen.content, frozen.archive
    assert archive is not None
    assert (content.pipeline, content.source, content.description) == ("flow", "frozen_flow:flow", "Count.")
    assert content.code == archive.digest == pack(tmp_path / "project").digest
    assert content.code_note is None
    assert [invocation.id for invocation in content.graph.invocations] == ["one"]
    assert content.parameter_schema["properties"]["n"] == {"type": "integer", "default": 3}
    assert content.environment.executable == sys.executable
    assert content.environment.python == ".".join(map(str, sys.version_info[:3]))
    assert str(content.environment.platform).startswith(sys.platform)
    assert freeze(flow, description="Other.").content.description == "Other."


def test_the_same_thing_gives_the_same_id_in_every_process(flow: Pipeline, tmp_path: Path) -> None:
    code = (
        "from penstock.author.source import load_source; from penstock.author.freeze import freeze\n"
        "import msgspec\n"
        "print(msgspec.json.encode(freeze(load_source('frozen_flow:flow')).content).decode())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path / "project",
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    content = freeze(flow).content
    told = [msgspec.json.decode(one, type=Content) for one in found]
    assert told == [content] * len(told)  # whole, so that a difference is seen
    assert {snapshot_id(one) for one in told} == {snapshot_id(content)}


def test_content_survives_the_way_to_the_server(flow: Pipeline) -> None:
    content = freeze(flow).content
    back = msgspec.json.decode(msgspec.json.encode(content), type=Content)
    assert snapshot_id(back) == snapshot_id(content)
    json.dumps(content.parameter_schema, allow_nan=False)


def test_the_server_can_merge_values_into_it(flow: Pipeline) -> None:
    content = freeze(flow).content
    snapshot = Snapshot(id=snapshot_id(content), pipeline_id="p", content=content, created=datetime.now(UTC))
    effective = resolve(
        snapshot, PipelineRunConfiguration(parameters={"n": 4}, steps={"one": StepConfiguration(parameters={"n": 5})})
    )
    assert effective.parameters == {"n": 4, "tags": ["a", "b", "c", "d"]}
    assert effective.step_parameters == {"one": {"n": 5}}
    assert said(config_template(snapshot)) == {
        "parameters": {"n": 3, "tags": ["a", "b", "c", "d"]},
        "steps": {"one": {}},
    }
    with pytest.raises(InvalidInput) as caught:
        resolve(
            snapshot,
            PipelineRunConfiguration(
                parameters={"n": "x"}, steps={"one": StepConfiguration(parameters={"m": 1}), "two": StepConfiguration()}
            ),
        )
    assert {fault["pointer"] for fault in caught.value.errors} == {
        "/parameters/n",
        "/steps/one/parameters/m",
        "/steps/two",
    }


def test_changed_code_is_another_snapshot(flow: Pipeline, tmp_path: Path) -> None:
    before = snapshot_id(freeze(flow).content)
    (tmp_path / "project" / "helper.py").write_text("x = 1\n")
    assert snapshot_id(freeze(flow).content) != before


def test_code_that_cannot_be_archived_is_a_note() -> None:
    @pipeline
    def local(n: int = 1) -> None: ...

    frozen = freeze(local)
    assert frozen.archive is None
    assert frozen.content.code is None
    assert "made inside a function" in str(frozen.content.code_note)


def test_a_project_that_is_too_large(flow: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_MAX_ARCHIVE", "10")
    with pytest.raises(AuthoringError, match="PENSTOCK_MAX_ARCHIVE"):
        freeze(flow)
    frozen = freeze(flow, lenient=True)
    assert frozen.archive is None
    assert "PENSTOCK_MAX_ARCHIVE" in str(frozen.content.code_note)


def test_eight_threads_freeze_one_pipeline(flow: Pipeline) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: freeze(flow), range(16)))
    assert all(one == found[0] for one in found)
