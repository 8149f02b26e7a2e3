from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import Conflict
from tests.unit.client.test_trials import report, told

WHERE = "/deployments/served/trial"


def test_what_is_said_of_a_mirror_and_of_a_canary_goes_to_the_server(penstock: Any, server: Any) -> None:
    server.on("POST", WHERE, told(kind="mirror"))
    server.on("GET", WHERE, report("running"))
    options = ("--share", "0.2", "--tolerance", "0.1", "--ignore", "/outputs/at", "--snapshot", "s2")
    shown = penstock("deployment", "mirror", "served", *options)
    assert shown.status == 0, shown.stderr
    assert "running" in shown.stdout
    options = ("--weight", "0.2", "--max-errors", "0.1", "--min-requests", "5", "--max-slowdown", "3", "--window", "30")
    assert penstock("deployment", "canary", "served", "--snapshot", "s2", *options, "--timeout", "0").status == 0
    mirror, canary = server.bodies("POST", WHERE)
    assert mirror == {
        "kind": "mirror",
        "snapshot": "s2",
        "share": 0.2,
        "comparing": {"tolerance": 0.1, "absolute": 0.0, "ignore": ["/outputs/at"]},
    }
    assert canary["rule"] == {"max_error_rate": 0.1, "min_requests": 5, "window": 30.0, "max_slowdown": 3.0}


def test_what_the_server_refuses_is_said(penstock: Any, server: Any) -> None:
    server.on("POST", WHERE, Conflict("A trial goes on already."))
    refused = penstock("deployment", "mirror", "served", "--snapshot", "s2")
    assert refused.status != 0
    assert "goes on already" in refused.stderr
    assert penstock("deployment", "canary", "served", "--weight", "2").status == 2


@pytest.mark.parametrize(
    ("kind", "words"), [("mirror", "4, by 0.25 of the larger at most"), ("canary", "Refused by it alone")]
)
def test_the_figures_are_shown(penstock: Any, server: Any, kind: str, words: str) -> None:
    side = {"requests": 10, "errors": 1, "error_rate": 0.1, "p50": 0.0123, "p95": 0.5}
    example = {
        "at": "2025-01-01T00:00:00Z",
        "run_id": "r1",
        "candidate_run_id": "r2",
        "status": 200,
        "candidate_status": 200,
        "variances": [{"pointer": "/outputs/a", "first": 1, "candidate": 2}],
    }
    counted = {
        "compared": 10,
        "different": 4,
        "share_different": 0.4,
        "places": {"/outputs/a": {"count": 4, "largest": 0.25}},
    }
    found = report("running", kind=kind) | {"first": side, "candidate": side, "examples": [example]} | counted
    server.on("GET", WHERE, found)
    shown = penstock("deployment", "trial", "served")
    assert shown.status == 0, shown.stderr
    assert words in shown.stdout
    assert "10 requests, 1 failed (10.0%), half in 0.0123 s" in " ".join(shown.stdout.split())
    assert "1 -> 2" in shown.stderr
    assert penstock("deployment", "trial", "served", "-o", "json").json["different"] == 4


def test_weight_promote_and_abort(penstock: Any, server: Any) -> None:
    server.on("PATCH", WHERE, told(share=0.5))
    server.on("POST", f"{WHERE}/abort", told("aborted"))
    deployment = {
        "id": "d1",
        "name": "served",
        "pipeline_id": "p1",
        "pipeline_name": "train",
        "snapshot_id": "s2",
        "revision": 2,
        "state": "running",
        "created": "2025-01-01T00:00:00Z",
        "updated": "2025-01-01T00:00:00Z",
    }
    server.on("POST", f"{WHERE}/promote", deployment)
    server.on("GET", "/deployments/d1", deployment)
    assert "50.0%" in penstock("deployment", "weight", "served", "0.5").stdout
    assert server.bodies("PATCH", WHERE) == [{"share": 0.5}]
    assert penstock("deployment", "promote", "served", "-o", "json").json == {"promoted": "s2", "revision": 2}
    assert "aborted" in penstock("deployment", "abort", "served").stdout
