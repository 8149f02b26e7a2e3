from __future__ import annotations

from typing import Any

from penstock.client.client import Client

ACCOUNT = {"id": "1", "name": "ci", "role": "operator", "created": "2025-01-01T00:00:00Z"}
KEY = {"id": "2", "account_id": "1", "name": "k", "created": "2025-01-01T00:00:00Z"}


def test_accounts(client: Client, transport: Any) -> None:
    transport.script = [ACCOUNT]
    assert client.accounts.create("ci", role="viewer").name == "ci"
    assert (transport.last.path, transport.last.json) == ("/service_accounts", {"name": "ci", "role": "viewer"})
    assert client.accounts.get("ci").id == "1"
    client.accounts.delete("ci")
    assert (transport.last.method, transport.last.path) == ("DELETE", "/service_accounts/ci")
    transport.script = [{"items": [ACCOUNT]}]
    assert [one.role for one in client.accounts.list()] == ["operator"]


def test_keys(client: Client, transport: Any) -> None:
    transport.script = [{"key": "psk_x", "record": KEY}]
    made = client.accounts.create_key("ci", "k", expires_in_days=7)
    assert (made.key, made.record.name) == ("psk_x", "k")
    assert (transport.last.path, transport.last.json) == (
        "/service_accounts/ci/api_keys",
        {"name": "k", "expires_in_days": 7},
    )
    client.accounts.rotate_key("ci", "k", retain_minutes=5)
    assert (transport.last.path, transport.last.json) == (
        "/service_accounts/ci/api_keys/k/rotate",
        {"retain_minutes": 5},
    )
    client.accounts.revoke_key("ci", "k")
    assert (transport.last.method, transport.last.path) == ("DELETE", "/service_accounts/ci/api_keys/k")
    transport.script = [{"items": [KEY]}]
    assert [one.name for one in client.accounts.keys("ci")] == ["k"]
