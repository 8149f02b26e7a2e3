from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from penstock.client.client import Client
from penstock.errors import InvalidInput
from penstock.model.run import RunState

Make = Callable[..., dict[str, Any]]
SNAPSHOT_ID = "01900000-0000-8000-8000-000000000001"


class TestTrigger:
    @pytest.mark.parametrize(
        ("target", "field"),
        [
            ({"pipeline_name_or_id": "train"}, {"pipeline": "train"}),
            ({"template_id": "daily@v3"}, {"template": "daily@v3"}),
            ({"snapshot_name_or_id": SNAPSHOT_ID}, {"snapshot_id": SNAPSHOT_ID}),
        ],
    )
    def test_each_target(
        self, client: Client, transport: Any, run_json: Make, target: dict[str, Any], field: dict[str, Any]
    ) -> None:
        transport.script = [run_json()]
        steps = {"model_trainer": {"parameters": {"lr": 0.01}}}
        assert client.trigger_pipeline(**target, run_configuration={"steps": steps}).state is RunState.QUEUED
        assert transport.last.json == {**field, "steps": steps}

    def test_the_first_argument_is_the_pipeline(self, client: Client, transport: Any, run_json: Make) -> None:
        transport.script = [run_json()]
        client.trigger_pipeline("train")
        assert transport.last.json == {"pipeline": "train"}

    @pytest.mark.parametrize("targets", [{}, {"template_id": "a", "snapshot_name_or_id": "b"}])
    def test_exactly_one_target(self, client: Client, transport: Any, targets: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match=r"a pipeline .*template_id, or snapshot_name_or_id") as caught:
            client.trigger_pipeline(**targets)
        assert [error["pointer"] for error in caught.value.errors] == [f"/{name}" for name in targets]
        assert transport.asked == []

    def test_from_a_file(self, client: Client, transport: Any, run_json: Make, tmp_path: Path) -> None:
        (tmp_path / "run.yaml").write_text("parameters: {lr: 1e-3}\ntags: [nightly]\n")
        transport.script = [run_json()]
        client.trigger_pipeline("train", config_path=tmp_path / "run.yaml")
        assert transport.last.json == {"pipeline": "train", "parameters": {"lr": 0.001}, "tags": ["nightly"]}

    def test_a_file_and_a_mapping_are_one_too_many(self, client: Client, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="one of them"):
            client.trigger_pipeline("train", run_configuration={}, config_path=tmp_path / "x.yaml")

    def test_synchronous_returns_the_ended_run(
        self, client: Client, transport: Any, run_json: Make, pauses: list[float]
    ) -> None:
        transport.script = [run_json("running"), run_json("running"), run_json("failed")]
        assert client.trigger_pipeline("train", synchronous=True).state is RunState.FAILED
        assert {one.headers["Prefer"] for one in transport.asked} == {"wait=30"}

    def test_synchronous_asks_no_more_than_it_must(self, client: Client, transport: Any, run_json: Make) -> None:
        transport.script = [run_json("completed")]
        assert client.trigger_pipeline("train", synchronous=True).state is RunState.COMPLETED
        assert len(transport.asked) == 1

    def test_a_given_key(self, client: Client, transport: Any, run_json: Make) -> None:
        transport.script = [run_json()]
        client.trigger_pipeline("train", idempotency_key="order-7")
        assert transport.last.headers["Idempotency-Key"] == "order-7"


def test_the_names_that_users_know(client: Client, transport: Any, run_json: Make) -> None:
    transport.script = [run_json()]
    assert client.get_pipeline_run("train-1").name == "train-1"
    transport.script = [{"items": [run_json()]}]
    assert len(client.list_pipeline_runs(state="queued")) == 1
    assert [one.path for one in transport.asked] == ["/runs/train-1", "/runs"]


def test_an_id_may_be_a_uuid_object(client: Client, transport: Any, run_json: Make) -> None:
    transport.script = [run_json()]
    client.get_pipeline_run(UUID(SNAPSHOT_ID))
    assert transport.last.path == f"/runs/{SNAPSHOT_ID}"


def test_importing_the_client_stays_cheap() -> None:
    heavy = "pydantic, sqlalchemy, fastapi, asyncio, httpx, jsonschema_rs, yaml, typer, rich"
    code = f"import sys, penstock.client.client; print([m for m in '{heavy}'.split(', ') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
