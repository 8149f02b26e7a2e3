from __future__ import annotations

from typing import Any

import pytest

ACCOUNT = {"id": "acc-1", "name": "ci", "role": "viewer", "created": "2025-01-01T00:00:00Z"}
KEY = {"id": "key-1", "account_id": "acc-1", "name": "default", "created": "2025-01-01T00:00:00Z"}
NEW = {"key": "psk_secret", "record": KEY}


class TestCreate:
    @pytest.fixture(autouse=True)
    def accounts(self, server: Any) -> None:
        server.on("POST", "/service_accounts", ACCOUNT)
        server.on("POST", "/service_accounts/acc-1/api_keys", NEW)

    def test_without_a_key(self, penstock: Any, server: Any) -> None:
        done = penstock("service-account", "create", "ci", "--role", "viewer", "-d", "for CI")
        assert server.bodies("POST", "/service_accounts") == [{"name": "ci", "role": "viewer", "description": "for CI"}]
        assert "viewer" in done.stdout
        assert len(server.asked) == 1

    def test_with_a_first_key(self, penstock: Any) -> None:
        done = penstock("service-account", "create", "ci", "--create-api-key")
        assert "psk_secret" in done.stdout
        assert "shown this once" in done.stderr

    def test_json(self, penstock: Any) -> None:
        assert penstock("service-account", "create", "ci", "-o", "json").json["name"] == "ci"
        both = penstock("service-account", "create", "ci", "--create-api-key", "-o", "json").json
        assert (both["account"]["name"], both["api_key"]["key"]) == ("ci", "psk_secret")

    def test_an_unknown_role(self, penstock: Any, server: Any) -> None:
        assert penstock("service-account", "create", "ci", "--role", "god").status == 2
        assert server.asked == []


def test_list_show_delete(penstock: Any, server: Any) -> None:
    server.on("GET", "/service_accounts", {"items": [ACCOUNT]})
    server.on("GET", "/service_accounts/ci", ACCOUNT)
    server.on("DELETE", "/service_accounts/ci", b"")
    assert penstock("service-account", "list").stdout.splitlines()[1].split()[:3] == ["ci", "viewer", "yes"]
    assert "acc-1" in penstock("service-account", "show", "ci").stdout
    assert penstock("service-account", "delete", "ci").stdout == ""


class TestKeys:
    def test_create_prints_the_key_alone(self, penstock: Any, server: Any) -> None:
        server.on("POST", "/service_accounts/ci/api_keys", NEW)
        done = penstock("service-account", "api-key", "create", "ci", "default", "--expires-in-days", "7")
        assert done.stdout == "psk_secret\n"
        assert "shown this once" in done.stderr
        assert server.bodies("POST", "/service_accounts/ci/api_keys") == [{"name": "default", "expires_in_days": 7}]

    def test_rotate(self, penstock: Any, server: Any) -> None:
        server.on("POST", "/service_accounts/ci/api_keys/default/rotate", NEW)
        done = penstock("service-account", "api-key", "rotate", "ci", "default", "--retain-minutes", "5", "-o", "json")
        assert done.json["key"] == "psk_secret"
        assert server.asked[0].json == {"retain_minutes": 5}

    def test_list_and_revoke(self, penstock: Any, server: Any) -> None:
        server.on("GET", "/service_accounts/ci/api_keys", {"items": [KEY]})
        server.on("DELETE", "/service_accounts/ci/api_keys/default", b"")
        assert "never" in penstock("service-account", "api-key", "list", "ci").stdout
        assert "revoked" in penstock("service-account", "api-key", "revoke", "ci", "default").stderr
