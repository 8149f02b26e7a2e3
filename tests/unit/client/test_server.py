from __future__ import annotations

from typing import Any

from penstock.client.client import Client


def test_info_and_address(client: Client, transport: Any) -> None:
    transport.script = [{"version": "1.2.3", "pid": 7, "url": None, "new": True}]
    info = client.server.info()
    assert (info.version, info.pid, info.url) == ("1.2.3", 7, None)
    assert client.server.address == "unix:/nowhere"


def test_sweep(client: Client, transport: Any) -> None:
    counts = dict.fromkeys(("runs", "logs", "events", "decisions", "idempotency_keys", "callbacks", "code_archives"), 1)
    transport.script = [{**counts, "dry_run": True}]
    assert client.server.sweep(dry_run=True).runs == 1
    assert (transport.asked[-1].path, transport.asked[-1].json) == ("/server/sweep", {"dry_run": True})
