from __future__ import annotations

from typing import Any

from penstock.client.client import Client

PIPELINE = {"id": "p1", "name": "train", "latest_snapshot_id": "s1", "created": "2025-01-01T00:00:00Z"}


def test_get_and_list(client: Client, transport: Any) -> None:
    transport.script = [PIPELINE]
    assert client.pipelines.get("train").latest_snapshot_id == "s1"
    assert transport.last.path == "/pipelines/train"
    transport.script = [{"items": [PIPELINE]}]
    assert [one.id for one in client.pipelines.list(name="train")] == ["p1"]
    assert transport.last.query == {"name": "train", "size": 20}
