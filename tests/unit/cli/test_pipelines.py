from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SNAPSHOT_ID = "01900000-0000-8000-8000-000000000002"

FLOW = '''
from penstock import pipeline, step


@step
def fit(lr: float, name: str) -> float:
    return lr


@pipeline
def train(lr: float = 0.1, name: str = "a"):
    """Fit a model."""
    return fit(lr, name)
'''


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with a pipeline in the current directory, under a name of its own."""
    name = f"flow_{abs(hash(tmp_path))}"
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / f"{name}.py").write_text(FLOW)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def frozen(server: Any, snapshot_json: dict[str, Any], run_json: Any) -> None:
    """A server that takes in every snapshot and starts its runs."""
    server.on("POST", "/pipeline_snapshots", snapshot_json)
    server.on("POST", "/runs", run_json("queued", started=None, ended=None))


def test_list(penstock: Any, server: Any) -> None:
    at = "2025-01-01T00:00:00Z"
    server.on("GET", "/pipelines", {"items": [{"id": "p", "name": "train", "latest_snapshot_id": None, "created": at}]})
    assert penstock("pipeline", "list").stdout.splitlines()[1].startswith("train")


class TestRun:
    @pytest.mark.parametrize("form", ["{}.train", "{}:train", "{}.py:train"])
    def test_freezes_and_starts(self, penstock: Any, server: Any, frozen: None, flow: str, form: str) -> None:
        done = penstock("pipeline", "run", form.format(flow), "-p", "lr=1", "-p", "name=1", "--no-wait", "-o", "json")
        assert (done.status, done.json["state"]) == (0, "queued")
        content = server.bodies("POST", "/pipeline_snapshots")[0]["content"]
        assert (content["pipeline"], content["source"]) == ("train", f"{flow}:train")
        assert server.bodies("POST", "/runs") == [{"snapshot_id": SNAPSHOT_ID, "parameters": {"lr": 1, "name": "1"}}]

    def test_a_pipeline_that_is_not_there(self, penstock: Any, home: Path, flow: str) -> None:
        done = penstock("pipeline", "run", f"{flow}.trian")
        assert done.status == 2
        assert "Did you mean 'train'" in done.stderr

    def test_a_module_that_fails_is_the_users_affair(self, penstock: Any, home: Path, flow: str) -> None:
        Path(f"{flow}_broken.py").write_text("def helper():\n    return 1 / 0\n\nhelper()\n")
        done = penstock("pipeline", "run", f"{flow}_broken.train")
        assert done.status == 1
        assert "ZeroDivisionError: division by zero" in done.stderr
        assert f"{flow}_broken.py" in done.stderr
        assert "penstock/" not in done.stderr
        assert "importlib" not in done.stderr


def test_create_run_template(
    penstock: Any, server: Any, frozen: None, flow: str, template_json: dict[str, Any]
) -> None:
    server.on("POST", "/run_templates", template_json)
    done = penstock("pipeline", "create-run-template", f"{flow}.train", "--name", "daily", "--tag", "x")
    assert done.status == 0
    assert server.bodies("POST", "/run_templates") == [{"name": "daily", "snapshot_id": SNAPSHOT_ID, "tags": ["x"]}]


class TestSnapshot:
    def test_create(self, penstock: Any, server: Any, frozen: None, flow: str) -> None:
        done = penstock("pipeline", "snapshot", "create", f"{flow}.train", "--name", "prod")
        assert server.bodies("POST", "/pipeline_snapshots")[0]["name"] == "prod"
        assert SNAPSHOT_ID in done.stdout
        assert "name: string  (needed)" in done.stdout

    def test_list_and_show(self, penstock: Any, server: Any, snapshot_json: dict[str, Any]) -> None:
        server.on("GET", "/pipeline_snapshots", {"items": [snapshot_json]})
        server.on("GET", "/pipeline_snapshots/prod", snapshot_json)
        assert SNAPSHOT_ID in penstock("pipeline", "snapshot", "list", "--pipeline", "train").stdout
        assert "fit" in penstock("pipeline", "snapshot", "show", "prod", "--pipeline", "train").stdout
        assert [one.query.get("pipeline") for one in server.asked] == ["train", "train"]

    def test_one_that_cannot_run_says_so(self, penstock: Any, server: Any, snapshot_json: dict[str, Any]) -> None:
        snapshot_json["content"] |= {"code": None, "code_note": "It was typed into a notebook."}
        server.on("GET", "/pipeline_snapshots/prod", snapshot_json)
        assert "typed into a notebook" in penstock("pipeline", "snapshot", "show", "prod").stderr

    def test_run(self, penstock: Any, server: Any, frozen: None, snapshot_json: dict[str, Any]) -> None:
        server.on("GET", "/pipeline_snapshots/prod", snapshot_json)
        penstock("pipeline", "snapshot", "run", "prod", "--step-param", "fit.depth=3", "--no-wait")
        assert server.bodies("POST", "/runs") == [
            {"snapshot_id": SNAPSHOT_ID, "steps": {"fit": {"parameters": {"depth": 3}}}}
        ]
