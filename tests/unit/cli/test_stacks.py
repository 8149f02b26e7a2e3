from __future__ import annotations

from typing import Any

STACK = {
    "id": "1",
    "name": "default",
    "components": {
        "orchestrator": {"flavor": "local"},
        "artifact_store": {"flavor": "file", "options": {"path": "/a"}},
    },
    "created": "2025-01-01T00:00:00Z",
}


def test_list_and_show(penstock: Any, server: Any) -> None:
    server.on("GET", "/stacks", {"items": [STACK]})
    server.on("GET", "/stacks/default", STACK)
    assert "orchestrator=local, artifact_store=file" in penstock("stack", "list").stdout
    assert 'file {"path": "/a"}' in penstock("stack", "show", "default").stdout
    assert penstock("stack", "show", "default", "-o", "json").json == {
        **STACK,
        "components": {
            "orchestrator": {"flavor": "local", "options": {}},
            "artifact_store": {"flavor": "file", "options": {"path": "/a"}},
        },
    }
