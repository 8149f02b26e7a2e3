from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from penstock.cli.deployments import options_of
from penstock.errors import RunFailed, Unavailable
from penstock.model.launch import socket_path


@pytest.fixture
def served(home: Path, server: Any, snapshot_json: Any) -> dict[str, Any]:
    """A deployment whose service is the stub, too."""
    snapshot = snapshot_json() if callable(snapshot_json) else snapshot_json
    found = {
        "id": "01900000-0000-7000-8000-00000000000d",
        "name": "served",
        "pipeline_id": "p1",
        "pipeline_name": "train",
        "snapshot_id": snapshot["id"],
        "state": "running",
        "url": f"unix:{socket_path(home, 'server.sock')}",
        "auth": True,
        "created": "2025-01-01T00:00:00Z",
        "updated": "2025-01-01T00:00:00Z",
    }
    server.on("GET", "/deployments", {"items": [found]})
    server.on("GET", "/deployments/served", found)
    server.on("GET", f"/deployments/{found['id']}", found)
    server.on("GET", f"/pipeline_snapshots/{snapshot['id']}", snapshot)
    return found


def submission(state: str = "queued", **fields: Any) -> dict[str, Any]:
    return {"run_id": "r1", "state": state, "submitted": "2025-01-01T00:00:00Z", **fields}


def test_list_and_describe(penstock: Any, served: dict[str, Any]) -> None:
    assert "served" in penstock("deployment", "list").stdout
    told = penstock("deployment", "describe", "served")
    assert told.status == 0, told.stderr
    assert "Bearer KEY" in told.stderr


def test_manifests_are_yaml_or_json(penstock: Any, server: Any, served: dict[str, Any]) -> None:
    objects = [{"kind": "Service", "metadata": {"name": "a"}}, {"kind": "Deployment"}]
    server.on("GET", "/deployments/served/manifests", {"manifests": objects}, {"manifests": objects})
    told = penstock("deployment", "manifests", "served")
    assert told.stdout == "kind: Service\nmetadata:\n  name: a\n---\nkind: Deployment\n"
    told = penstock("deployment", "manifests", "served", "--output", "json")
    assert json.loads(told.stdout) == {"manifests": objects} or json.loads(told.stdout) == objects


def test_an_option_of_a_deployer_may_be_the_text_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("kind: ConfigMap\n")
    given = [f"extra_resources=@{tmp_path}/more.yaml", "replicas=2", "namespace=ml"]
    assert options_of(given) == {"extra_resources": "kind: ConfigMap\n", "replicas": 2, "namespace": "ml"}
    with pytest.raises(typer.BadParameter, match="cannot be read"):
        options_of([f"extra_resources=@{tmp_path}/nowhere.yaml"])


def test_invoke_shows_outputs_and_what_failed(penstock: Any, server: Any, served: dict[str, Any]) -> None:
    answer = {"success": True, "outputs": {"output": 7}, "metadata": {"run_name": "r"}, "execution_time": 0.1}
    server.on("POST", "/invoke", answer, RunFailed("Step fit failed."), Unavailable("Too much to do."))
    told = penstock("deployment", "invoke", "served", "--key", "k")
    assert told.status == 0, told.stderr
    assert "7" in told.stdout
    assert server.asked[-1].headers["authorization"] == "Bearer k"
    for words in ("Step fit failed.", "Too much to do."):
        failed = penstock("deployment", "invoke", "served")
        assert failed.status != 0
        assert words in failed.stderr


def test_a_submission_from_its_acceptance_to_its_end(penstock: Any, server: Any, served: dict[str, Any]) -> None:
    server.on("POST", "/submit", submission())
    ended = submission("completed", ended="2025-01-01T00:00:01Z", status=200, result={"outputs": {"output": 7}})
    server.on("GET", "/submit/r1", submission("running"), ended)
    server.on("POST", "/submit/r1/cancel", submission("cancelled", ended="2025-01-01T00:00:01Z"))
    told = penstock("deployment", "invoke", "served", "--async", "--idempotency-key", "once", "-o", "json")
    assert (told.status, told.json["run_id"]) == (0, "r1"), told.stderr
    assert server.asked[-1].headers["idempotency-key"] == "once"
    assert penstock("deployment", "result", "served", "r1", "-o", "json").json["state"] == "running"
    assert "7" in penstock("deployment", "result", "served", "r1", "--timeout", "5").stdout
    assert "cancelled" in penstock("deployment", "cancel", "served", "r1").stdout
    refused = penstock("deployment", "invoke", "served", "--idempotency-key", "once")
    assert refused.status == 2
    assert "--no-wait" in refused.stderr
