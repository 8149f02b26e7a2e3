"""What became of each attempt to start a run is on record, also where nothing was started."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site

SECRET = "a-value-that-must-not-be-kept"


@pytest.fixture
def asked(site: Site, request: pytest.FixtureRequest) -> str:
    """A template for this test alone."""
    name = request.node.name.replace("_", "-")[5:60]
    site.template(f"{PIPELINES / 'lab.py'}:lab", name)
    return name


def decisions(site: Site, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.get("/decisions", **query)["items"]
    return found


def test_every_attempt_is_on_record(site: Site, asked: str) -> None:
    started = site.trigger(asked, {"number": 2}, Idempotency_Key=f"{asked}-1")
    site.ended(started["id"])
    site.trigger(asked, {"number": 2}, Idempotency_Key=f"{asked}-1")
    assert site.api.post(f"/run_templates/{asked}/runs", json={"parameters": {"nmber": SECRET}}).status_code == 422
    assert site.api.post(f"/run_templates/{asked}@v9/runs", json={}).status_code == 404
    other = {"parameters": {"number": 3}}
    key = {"Idempotency-Key": f"{asked}-1"}
    assert site.api.post(f"/run_templates/{asked}/runs", json=other, headers=key).status_code == 422
    found = decisions(site, template=asked)
    assert [(one["verdict"], one["status"], one["problem"]) for one in found] == [
        ("refused", 422, "idempotency-key-reused"),
        ("refused", 404, "not-found"),
        ("refused", 422, "invalid-input"),
        ("replayed", 200, None),
        ("started", 202, None),
    ]
    assert found[2]["pointers"] == ["/parameters/nmber"]
    assert found[1]["target"] == f"template {asked}@v9"
    assert {one["run_id"] for one in found[3:]} == {started["id"]}
    assert decisions(site, run_id=started["id"], verdict="started") == [found[4]]
    assert site.get(f"/decisions/{found[0]['id']}") == found[0]
    assert SECRET not in str(found)
    printed = site.penstock("decision", "list", "--template", asked, "--verdict", "refused").stdout
    assert printed.count("refused") == 3


def test_an_attempt_that_is_turned_away_at_the_door_is_on_record_too(site: Site, asked: str) -> None:
    caller = site.keyed(site.key(f"{asked}-ci"))
    address = f"/run_templates/{asked}/runs"
    json = {"Content-Type": "application/json"}
    assert caller.post(address, json={"parametres": {"number": SECRET}}).status_code == 422
    assert caller.post(address, content=b'{"parameters": ', headers=json).status_code == 400
    assert caller.post(address, json={}, headers={"Idempotency-Conflict": "replace"}).status_code == 422
    watcher = site.keyed(site.key(f"{asked}-watcher", role="viewer"))
    assert watcher.post(address, json={}).status_code == 403
    nobody = httpx.post(f"{site.url}/api/v1{address}", json={})
    assert nobody.status_code == 401  # in the log only: it is no attempt of anybody
    found = decisions(site, template=asked)
    assert [(one["account"], one["verdict"], one["status"], one["pointers"]) for one in found] == [
        (f"{asked}-watcher", "refused", 403, []),
        (f"{asked}-ci", "refused", 422, ["/headers/Idempotency-Conflict"]),
        (f"{asked}-ci", "refused", 400, []),
        (f"{asked}-ci", "refused", 422, ["/parametres"]),
    ]
    assert SECRET not in str(found)
    assert site.get("/runs", template=asked)["items"] == []
    replayed = caller.post("/runs/no-such-run/replay", json={})
    assert (replayed.status_code, decisions(site, account=f"{asked}-ci")[0]["target"]) == (404, "run no-such-run")


def test_limits_conflicts_and_plans_are_told(site: Site, asked: str) -> None:
    site.api.put(f"/run_templates/{asked}/terms", json={"limits": {"rate": {"limit": 1, "per": 3600}}})
    site.trigger(asked)
    assert site.api.post(f"/run_templates/{asked}/runs", json={}).status_code == 429
    assert site.api.post(f"/run_templates/{asked}/runs", json={}, headers={"Plan-Token": "old"}).status_code == 409
    kinds = [(one["verdict"], one["problem"]) for one in decisions(site, template=asked)]
    assert kinds == [("refused", "plan-changed"), ("refused", "too-many-requests"), ("started", None)]


def test_who_asked_is_told_and_whoever_may_not_run_may_read(site: Site, asked: str) -> None:
    caller = site.keyed(site.key(f"{asked}-ci"))
    assert caller.post(f"/run_templates/{asked}/runs", json={}).status_code == 202
    (one,) = decisions(site, account=f"{asked}-ci")
    assert (one["account"], one["kind"], one["key_id"] is not None) == (f"{asked}-ci", "api", True)
    site.trigger(asked)
    site.api.post(f"/run_templates/{asked}/runs", json={"parameters": {"x": 1}})
    used = site.get(f"/run_templates/{asked}/usage")
    assert [(who["account"], who["counts"]) for who in used] == [
        ("owner", {"started": 1, "refused": 1}),
        (f"{asked}-ci", {"started": 1}),
    ]
    assert "1 refused" in site.penstock("run-template", "usage", asked).stdout
    assert site.api.get("/decisions", params={"colour": "red"}).status_code == 422
