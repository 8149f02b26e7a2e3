from __future__ import annotations

from typing import Any

ENTRY = {
    "id": "e-1",
    "at": "2025-01-01T00:00:00Z",
    "action": "start_run",
    "object": "runs/r-1",
    "outcome": "refused",
    "status": 422,
    "kind": "service",
    "account": "ci",
    "address": "192.0.2.1",
    "number": 7,
}
WHOLE = {"intact": True, "first": 1, "last": 7, "digest": "ab" * 32, "waiting": 0}


def test_list_says_who_did_what(penstock: Any, server: Any) -> None:
    server.on("GET", "/audit", {"items": [ENTRY]})
    row = penstock("audit", "list", "--account", "ci", "--refused", "--since", "2025-01-01T00:00:00Z").stdout
    for word in ("ci", "start_run", "runs/r-1", "refused (422)", "192.0.2.1"):
        assert word in row


def test_verify_prints_what_to_note_elsewhere(penstock: Any, server: Any) -> None:
    server.on("GET", "/audit/verify", WHOLE)
    done = penstock("audit", "verify")
    assert (done.status, f"7:{'ab' * 32}" in done.stdout) == (0, True)


def test_verify_fails_for_a_log_that_was_changed(penstock: Any, server: Any) -> None:
    server.on("GET", "/audit/verify", {**WHOLE, "intact": False, "broken_at": 5, "reason": "entry 5 is missing"})
    done = penstock("audit", "verify", "--anchor", f"3:{'0' * 64}")
    assert done.status == 1
    assert "entry 5 is missing" in done.stdout
    assert "was changed" in done.stderr
