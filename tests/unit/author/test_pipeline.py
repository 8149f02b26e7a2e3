from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from penstock import pipeline, step
from penstock.author.handle import Handle
from penstock.author.source import load_source
from penstock.errors import AuthoringError

if TYPE_CHECKING:
    from tests.unit.author.conftest import Recorder


@step
def double(x: int) -> int:
    return 2 * x


@pipeline
def inner(x: int = 1) -> Any:
    """Double
    a number.

    More about it.
    """
    return double(x)


@pipeline
def outer(x: int = 5) -> Any:
    return double(inner(x))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What arrives at the runtime."""
    arrived: list[tuple[str, dict[str, Any]]] = []
    runtime = ModuleType("penstock.runtime.direct")

    def run(pipeline: Any, parameters: dict[str, Any]) -> Any:
        arrived.append((pipeline.name, parameters))
        return "the run"

    runtime.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "penstock.runtime.direct", runtime)
    return arrived


def test_calling_it_is_a_run(runs: list[Any]) -> None:
    assert inner() == "the run"
    assert inner(3) == "the run"
    assert outer(x=4) == "the run"
    assert runs == [("inner", {}), ("inner", {"x": 3}), ("outer", {"x": 4})]


def test_a_wrong_call_is_told_before_anything_runs(runs: list[Any]) -> None:
    with pytest.raises(
        AuthoringError, match=r"(?s)Pipeline inner cannot be called.*/y: There is no such argument.*Allowed: x"
    ):
        inner(y=3)
    assert runs == []


def test_inside_another_pipeline_it_is_a_part_of_it(recorder: Recorder, runs: list[Any]) -> None:
    result = outer.function(3)
    assert isinstance(result, Handle)
    assert [call[0] for call in recorder.calls] == ["double", "double_2"]
    assert recorder.calls[0][1] == {"x": 3}
    assert runs == []


def test_many_threads_may_call_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: list[int] = []
    runtime = ModuleType("penstock.runtime.direct")
    meet = threading.Barrier(8)

    def run(pipeline: Any, parameters: dict[str, Any]) -> int:
        meet.wait(10)
        arrived.append(parameters["x"])
        return parameters["x"]

    runtime.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "penstock.runtime.direct", runtime)
    answers: dict[int, int] = {}

    def call(x: int) -> None:
        answers[x] = outer(x=x)

    threads = [threading.Thread(target=call, args=(x,)) for x in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == {x: x for x in range(8)}
    assert sorted(arrived) == list(range(8))


def test_the_description_is_the_first_paragraph() -> None:
    assert inner.description == "Double a number."
    assert outer.description is None


def test_parameters_must_be_written_out() -> None:
    with pytest.raises(AuthoringError, match="write each parameter out"):

        @pipeline
        def anything(**parameters: Any) -> None: ...


def test_outputs_are_named(recorder: Recorder) -> None:
    handle = double(1)
    assert inner.outputs(handle) == {"output": handle}
    assert inner.outputs(None) == {}


class Server:
    """Stands in for the client: keeps what it is given."""

    def __init__(self) -> None:
        self.snapshots = SimpleNamespace(create=self._snapshot)
        self.templates = SimpleNamespace(create=self._template)
        self.calls: list[tuple[Any, ...]] = []

    def _snapshot(self, content: Any, *, name: str | None = None, archive: Any = None) -> Any:
        self.calls.append(("snapshot", content, name, archive))
        return SimpleNamespace(id="snapshot-id")

    def _template(self, name: str, **given: Any) -> str:
        self.calls.append(("template", name, given))
        return "the template"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    one, module = Server(), ModuleType("penstock.client.client")
    module.Client = lambda: one  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "penstock.client.client", module)
    return one


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pipeline in a project of its own."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "flow_of_test_pipeline.py").write_text(
        "from penstock import pipeline, step\n"
        "@step\n"
        "def one() -> int:\n"
        "    return 1\n"
        "@pipeline\n"
        "def flow():\n"
        "    'Frozen.'\n"
        "    return one()\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield load_source("flow_of_test_pipeline:flow", root)
    del sys.modules["flow_of_test_pipeline"]


def test_create_snapshot_freezes_and_stores(server: Server, project: Any) -> None:
    assert project.create_snapshot(name="daily").id == "snapshot-id"
    ((_, content, name, archive),) = server.calls
    assert (content.pipeline, content.description, name) == ("flow", "Frozen.", "daily")
    assert content.source == "flow_of_test_pipeline:flow"
    assert isinstance(archive(), bytes)
    assert content.code is not None


def test_create_snapshot_takes_another_description(server: Server, project: Any) -> None:
    project.create_snapshot(description="By hand.")
    assert server.calls[0][1].description == "By hand."


def test_create_run_template_publishes_the_snapshot(server: Server, project: Any) -> None:
    assert project.create_run_template("train", description="D", tags=["a", "b"]) == "the template"
    assert server.calls[1] == (
        "template",
        "train",
        {"snapshot_id": "snapshot-id", "description": "D", "tags": ("a", "b")},
    )


def test_a_template_that_nobody_could_run_is_refused(server: Server) -> None:
    @pipeline
    def local() -> None: ...

    with pytest.warns(UserWarning, match=r"pipeline local is a record.*made inside a function"):
        local.create_snapshot()
    assert server.calls[0][1].code is None
    assert server.calls[0][3] is None
    with pytest.raises(AuthoringError, match=r"cannot become a run template.*made inside a function"):
        local.create_run_template("never")
    assert len(server.calls) == 1
