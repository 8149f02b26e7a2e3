from __future__ import annotations

from typing import Any

ACCOUNT = {"id": "acc-1", "name": "ada", "kind": "person", "role": "viewer", "created": "2025-01-01T00:00:00Z"}
INVITED = {"account": ACCOUNT, "code": "the-code", "expires_in": 86400}


def test_create_and_reset_print_the_code_alone(penstock: Any, server: Any) -> None:
    server.on("POST", "/users", INVITED)
    server.on("POST", "/users/ada/reset", INVITED)
    done = penstock("user", "create", "ada", "--role", "editor", "--grant", "train=operator")
    assert done.stdout == "the-code\n"
    assert "good once" in done.stderr
    assert server.bodies("POST", "/users") == [{"name": "ada", "role": "editor", "grants": {"train": "operator"}}]
    assert penstock("user", "reset", "ada", "-o", "json").json["code"] == "the-code"


def test_a_grant_is_written_with_a_role(penstock: Any, server: Any) -> None:
    done = penstock("user", "create", "ada", "--grant", "train")
    assert (done.status, server.asked) == (2, [])
    assert "TEMPLATE=ROLE" in done.stderr


def test_grants_are_added_to_those_there_are(penstock: Any, server: Any) -> None:
    server.on("GET", "/users/ada", {**ACCOUNT, "grants": {"score": "viewer"}})
    server.on("PATCH", "/users/ada", ACCOUNT)
    penstock("user", "change", "ada", "--grant", "train=operator")
    penstock("user", "change", "ada", "--no-grants", "--inactive")
    assert server.bodies("PATCH", "/users/ada") == [
        {"grants": {"score": "viewer", "train": "operator"}},
        {"grants": {}, "active": False},
    ]


def test_list_show_delete(penstock: Any, server: Any) -> None:
    server.on("GET", "/users", {"items": [ACCOUNT]})
    server.on("GET", "/users/ada", ACCOUNT)
    server.on("DELETE", "/users/ada", b"")
    assert penstock("user", "list").stdout.splitlines()[1].split()[:3] == ["ada", "viewer", "yes"]
    assert "Person" in penstock("user", "show", "ada").stdout
    assert penstock("user", "delete", "ada").stdout == ""
