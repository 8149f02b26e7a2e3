from __future__ import annotations

from typing import Any

import pytest

from penstock.client.client import Client
from penstock.errors import Conflict
from tests.unit.client.test_deployments import told as deployment


def told(state: str = "running", **fields: Any) -> dict[str, Any]:
    return {
        "id": "t1",
        "deployment_id": "d1",
        "kind": "canary",
        "snapshot_id": "s2",
        "share": 0.1,
        "revision": 1,
        "state": state,
        "companion_id": "d2",
        "created": "2025-01-01T00:00:00Z",
        "updated": "2025-01-01T00:00:00Z",
        **fields,
    }


def report(state: str, **fields: Any) -> dict[str, Any]:
    side = {"requests": 0, "errors": 0, "error_rate": 0.0}
    return {"trial": told(state, **fields), "first": side, "candidate": side}


def test_without_a_candidate_it_is_the_latest_of_what_is_served(client: Client, transport: Any) -> None:
    transport.script = [deployment(), told()]
    assert client.trials.canary("served", share=0.2, rule={"min_requests": 5}).share == 0.1
    assert transport.last.json == {
        "kind": "canary",
        "share": 0.2,
        "rule": {"min_requests": 5},
        "pipeline": "train",
    }
    transport.script = [told(kind="mirror")]
    client.trials.mirror("served", snapshot="s2")
    assert transport.last.json == {"kind": "mirror", "share": 0.1, "snapshot": "s2"}


def test_it_waits_for_the_candidate_and_says_why_it_does_not_come(
    client: Client, transport: Any, pauses: list[float]
) -> None:
    transport.script = [report("starting"), report("starting", reason="building the image"), report("running")]
    assert client.trials.wait("served").state == "running"
    for state, reason, words in (
        ("error", "no model", "does not come up: no model"),
        ("rolled_back", "It failed.", "is over: rolled_back. It failed."),
        ("aborted", None, "is over: aborted"),
    ):
        transport.script = [report(state, reason=reason)]
        with pytest.raises(Conflict, match=words):
            client.trials.wait("served")
    transport.script = [report("starting")]
    with pytest.raises(TimeoutError, match="after 2 s"):
        client.trials.wait("served", timeout=2)
    assert sum(pauses) == pytest.approx(2.2, abs=0.2)


def test_what_follows_goes_to_the_trial_of_the_deployment(client: Client, transport: Any, pauses: list[float]) -> None:
    transport.script = [told(share=0.5)]
    assert client.trials.set_share("served", 0.5).share == 0.5
    transport.script = [deployment("pending"), deployment("pending"), deployment()]
    assert client.trials.promote("served").state == "running"
    transport.script = [deployment("pending")]
    assert client.trials.promote("served", timeout=None).state == "pending"
    transport.script = [told("aborted")]
    assert client.trials.abort("served").state == "aborted"
    transport.script = [[told("aborted")]]
    assert [one.state for one in client.trials.list("served")] == ["aborted"]
    assert [(one.method, one.path) for one in transport.asked if "trial" in one.path] == [
        ("PATCH", "/deployments/served/trial"),
        ("POST", "/deployments/served/trial/promote"),
        ("POST", "/deployments/served/trial/promote"),
        ("POST", "/deployments/served/trial/abort"),
        ("GET", "/deployments/served/trials"),
    ]
