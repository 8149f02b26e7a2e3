from __future__ import annotations

from typing import Any

TRUST = {
    "id": "t-1",
    "name": "github",
    "issuer": "https://issuer.example",
    "audience": "penstock",
    "account_id": "acc-1",
    "conditions": {"repository": "me/*"},
    "created": "2025-01-01T00:00:00Z",
}
CREATE = (
    "trust",
    "create",
    "github",
    "--issuer",
    "https://issuer.example",
    "--audience",
    "penstock",
    "--account",
    "ci",
)


def test_create(penstock: Any, server: Any) -> None:
    server.on("POST", "/trusts", TRUST)
    done = penstock(*CREATE, "--claim", "repository=me/*", "--claim", "ref=a=b", "--single-use")
    assert "repository=me/*" in done.stdout
    assert server.bodies("POST", "/trusts") == [
        {
            "name": "github",
            "issuer": "https://issuer.example",
            "audience": "penstock",
            "account": "ci",
            "conditions": {"repository": "me/*", "ref": "a=b"},
            "single_use": True,
        }
    ]


def test_a_claim_says_what_it_has_to_be(penstock: Any, server: Any) -> None:
    done = penstock(*CREATE, "--claim", "repository")
    assert (done.status, server.asked) == (2, [])
    assert "NAME=VALUE" in done.stderr
    assert penstock(*CREATE).status == 2


def test_list_show_delete(penstock: Any, server: Any) -> None:
    server.on("GET", "/trusts", {"items": [TRUST]})
    server.on("GET", "/trusts/github", TRUST)
    server.on("DELETE", "/trusts/github", b"")
    assert "https://issuer.example" in penstock("trust", "list").stdout
    assert "t-1" in penstock("trust", "show", "github").stdout
    assert "removed" in penstock("trust", "delete", "github").stderr
