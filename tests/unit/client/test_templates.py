from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.client.client import Client

TEMPLATE = {
    "id": "t1",
    "name": "train",
    "pipeline_id": "p1",
    "pipeline_name": "train",
    "versions": [{"version": 1, "snapshot_id": "s1", "created": "2025-01-01T00:00:00Z"}],
    "created": "2025-01-01T00:00:00Z",
}


def test_create_sends_what_was_given(client: Client, transport: Any) -> None:
    transport.script = [TEMPLATE]
    assert client.templates.create("train", run_id="r1", tags=["a"]).latest.snapshot_id == "s1"
    assert transport.last.json == {"name": "train", "run_id": "r1", "tags": ["a"]}
    client.templates.create("train", snapshot_id="s1", description="d")
    assert transport.last.json == {"name": "train", "snapshot_id": "s1", "description": "d"}


def test_get_is_what_a_form_needs(client: Client, transport: Any) -> None:
    transport.script = [{"template": TEMPLATE, "parameter_schema": {"type": "object"}, "steps": ["load"], "version": 1}]
    detail = client.templates.get("train@v1")
    assert (detail.template.name, detail.parameter_schema, detail.steps) == ("train", {"type": "object"}, ("load",))
    assert transport.last.path == "/run_templates/train@v1"


def test_list(client: Client, transport: Any) -> None:
    transport.script = [{"items": [TEMPLATE]}]
    assert [one.name for one in client.templates.list(pipeline="train", cursor="c")] == ["train"]
    assert transport.last.query == {"pipeline": "train", "size": 20, "cursor": "c"}


def test_delete(client: Client, transport: Any) -> None:
    transport.script = [b""]
    client.templates.delete("train")
    assert (transport.last.method, transport.last.path) == ("DELETE", "/run_templates/train")


def test_run_goes_through_the_one_door(client: Client, transport: Any, run_json: Callable[..., dict[str, Any]]) -> None:
    transport.script = [run_json(template_name="train", template_version=1)]
    run = client.templates.run("train@v1", parameters={"a": 1}, wait=2, idempotency_key="k")
    assert run.template_version == 1
    assert (transport.last.path, transport.last.json) == ("/runs", {"template": "train@v1", "parameters": {"a": 1}})
    assert transport.last.headers == {"Idempotency-Key": "k", "Prefer": "wait=2"}


def test_openapi(client: Client, transport: Any) -> None:
    transport.script = [{"openapi": "3.1.0"}]
    assert client.templates.openapi("train@v1") == {"openapi": "3.1.0"}
    assert (transport.last.method, transport.last.path) == ("GET", "/run_templates/train@v1/openapi.json")
