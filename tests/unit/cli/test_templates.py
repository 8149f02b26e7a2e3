from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.errors import NotFound

SNAPSHOT_ID = "01900000-0000-8000-8000-000000000002"
OLDER_ID = "01900000-0000-8000-8000-000000000009"


def test_list(penstock: Any, server: Any, template_json: dict[str, Any]) -> None:
    server.on("GET", "/run_templates", {"items": [template_json]})
    done = penstock("run-template", "list", "--pipeline", "train")
    assert done.stdout.splitlines()[1].split()[:3] == ["daily", "v2", "train"]
    assert server.asked[0].query == {"size": "20", "pipeline": "train"}


def test_show(penstock: Any, server: Any, template_json: dict[str, Any]) -> None:
    schema = {"properties": {"lr": {"type": "number", "default": 0.1}}}
    detail = {
        "template": template_json,
        "version": 2,
        "parameter_schema": schema,
        "config_template": {"parameters": {"lr": 0.1}},
        "steps": ["load", "fit"],
    }
    server.on("GET", "/run_templates/daily", detail)
    shown = penstock("run-template", "show", "daily").stdout
    assert "lr: number = 0.1" in shown
    assert f"v2  {SNAPSHOT_ID}" in shown
    assert '"lr": 0.1' in shown
    assert penstock("run-template", "show", "daily", "-o", "json").json["config_template"] == detail["config_template"]


class TestRun:
    @pytest.fixture
    def template(
        self, server: Any, template_json: dict[str, Any], snapshot_json: dict[str, Any], run_json: Any
    ) -> None:
        for reference in ("daily", "daily@v1", "daily@v2"):
            server.on(
                "GET",
                f"/run_templates/{reference}",
                {"template": template_json, "version": int(reference[-1]) if "@" in reference else 2},
            )
        server.on("GET", f"/pipeline_snapshots/{SNAPSHOT_ID}", snapshot_json)
        server.on("GET", f"/pipeline_snapshots/{OLDER_ID}", snapshot_json)
        server.on("POST", "/runs", run_json("queued", started=None, ended=None))

    def test_values_by_type(self, penstock: Any, server: Any, template: None) -> None:
        done = penstock("run-template", "run", "daily", "-p", "lr=1", "-p", "name=1", "--no-wait", "--run-name", "r")
        assert done.status == 0
        assert server.bodies("POST", "/runs") == [
            {"template": "daily", "parameters": {"lr": 1, "name": "1"}, "run_name": "r"}
        ]
        assert "queued" in done.stdout

    @pytest.mark.parametrize(
        ("reference", "snapshot"), [("daily", SNAPSHOT_ID), ("daily@v1", OLDER_ID), ("daily@v2", SNAPSHOT_ID)]
    )
    def test_the_schema_is_that_of_the_version(
        self, penstock: Any, server: Any, template: None, reference: str, snapshot: str
    ) -> None:
        penstock("run-template", "run", reference, "--step-param", "fit.depth=3", "--no-wait")
        assert f"/pipeline_snapshots/{snapshot}" in [one.path for one in server.asked]
        assert server.bodies("POST", "/runs")[0]["steps"] == {"fit": {"parameters": {"depth": 3}}}

    def test_without_values_it_is_one_request(self, penstock: Any, server: Any, template: None) -> None:
        penstock("run-template", "run", "daily", "--no-wait")
        assert [one.path for one in server.asked] == ["/runs"]
        assert server.asked[0].headers["idempotency-key"]

    def test_under_a_key(self, penstock: Any, server: Any, template: None) -> None:
        penstock("run-template", "run", "daily", "--idempotency-key", "order-7", "--no-wait")
        assert server.asked[0].headers["idempotency-key"] == "order-7"
        done = penstock("run-template", "run", "daily", "--idempotency-key", "order-7", "--plan")
        assert done.status != 0
        assert len(server.asked) == 1

    def test_from_a_file(self, penstock: Any, server: Any, template: None, tmp_path: Path) -> None:
        (tmp_path / "run.yaml").write_text("parameters: {lr: 1e-3}\ntags: [nightly]\n")
        penstock("run-template", "run", "daily", "-c", str(tmp_path / "run.yaml"), "--no-wait")
        assert server.bodies("POST", "/runs") == [
            {"template": "daily", "parameters": {"lr": 0.001}, "tags": ["nightly"]}
        ]

    def test_a_wrong_file(self, penstock: Any, server: Any, template: None, tmp_path: Path) -> None:
        (tmp_path / "run.yaml").write_text("parametres: {}\n")
        done = penstock("run-template", "run", "daily", "-c", str(tmp_path / "run.yaml"))
        assert done.status == 2
        assert "Did you mean 'parameters'" in done.stderr
        assert server.asked == []

    def test_an_option_without_a_value(self, penstock: Any, server: Any, template: None) -> None:
        done = penstock("run-template", "run", "daily", "-p", "lr")
        assert done.status == 2
        assert "expected NAME=VALUE" in done.stderr

    @pytest.mark.parametrize(("state", "status"), [("completed", 0), ("failed", 1)])
    def test_waits_for_the_end(
        self, penstock: Any, server: Any, template: None, told: Any, run_json: Any, state: str, status: int
    ) -> None:
        run_id = run_json()["id"]
        server.on("GET", f"/runs/{run_id}/events", told((f"run_{state}", None, {})))
        server.on("GET", f"/runs/{run_id}", run_json(state))
        done = penstock("run-template", "run", "daily", "-o", "json")
        assert (done.status, done.json["state"]) == (status, state)

    def test_an_unknown_template(self, penstock: Any, server: Any) -> None:
        server.on("POST", "/runs", NotFound("There is no run template 'dayly'."))
        done = penstock("run-template", "run", "dayly")
        assert (done.status, done.stderr) == (1, "Error: There is no run template 'dayly'.\n")


class TestCreate:
    @pytest.mark.parametrize(
        ("option", "field"), [(("--run", "train-1"), "run_id"), (("--snapshot", "prod"), "snapshot_id")]
    )
    def test_from_what(
        self, penstock: Any, server: Any, template_json: dict[str, Any], option: tuple[str, str], field: str
    ) -> None:
        server.on("POST", "/run_templates", template_json)
        done = penstock("run-template", "create", "daily", *option, "--tag", "a", "--tag", "b")
        assert server.bodies("POST", "/run_templates") == [{"name": "daily", field: option[1], "tags": ["a", "b"]}]
        assert "v2" in done.stdout
        assert done.stderr == "Run it: penstock run-template run daily\n"

    @pytest.mark.parametrize("options", [(), ("--run", "a", "--snapshot", "b")])
    def test_exactly_one(self, penstock: Any, server: Any, options: tuple[str, ...]) -> None:
        done = penstock("run-template", "create", "daily", *options)
        assert done.status == 2
        assert "either --snapshot or --run" in done.stderr


def test_delete(penstock: Any, server: Any) -> None:
    server.on("DELETE", "/run_templates/daily", b"")
    assert penstock("run-template", "delete", "daily").stderr == "Run template daily is deleted.\n"


def test_openapi(penstock: Any, server: Any) -> None:
    server.on("GET", "/run_templates/daily@v1/openapi.json", {"openapi": "3.1.0"})
    assert penstock("run-template", "openapi", "daily@v1").json == {"openapi": "3.1.0"}
