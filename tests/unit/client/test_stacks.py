from __future__ import annotations

from typing import Any

from penstock.client.client import Client

STACK = {
    "id": "1",
    "name": "default",
    "components": {"orchestrator": {"flavor": "local"}},
    "created": "2025-01-01T00:00:00Z",
}


def test_get_and_list(client: Client, transport: Any) -> None:
    transport.script = [STACK]
    assert client.stacks.get("default").components["orchestrator"].flavor == "local"
    assert transport.last.path == "/stacks/default"
    transport.script = [{"items": [STACK]}]
    assert [one.name for one in client.stacks.list()] == ["default"]
