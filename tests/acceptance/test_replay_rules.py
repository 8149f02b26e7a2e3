"""What a replay must never do: take over what is not the same, go round a lock, or do one request twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site


@pytest.fixture
def probe(site: Site, request: pytest.FixtureRequest) -> str:
    """A template for this test alone."""
    name = request.node.name.replace("_", "-")[5:60]
    site.template(f"{PIPELINES / 'probe.py'}:probe", name)
    return name


def replayed(site: Site, template: str, **body: Any) -> Any:
    first = site.ended(site.trigger(template)["id"])
    return site.ended(site.post(f"/runs/{first['id']}/replay", body)["id"])


def test_a_constant_beside_a_result_in_one_argument_is_looked_at(site: Site, probe: str) -> None:
    run = replayed(site, probe, from_failure=True, parameters={"factor": 9.0})
    assert run["outputs"] == {"output": "[('a', 1.0), ('b', 9.0)]"}


@pytest.mark.parametrize("value", [True, 1.0, "1"])
def test_values_that_python_holds_to_be_equal_are_not_the_same(site: Site, value: Any) -> None:
    site.template(f"{PIPELINES / 'probe.py'}:probe", "probe-of-values")
    run = replayed(site, "probe-of-values", from_failure=True, parameters={"value": value})
    states = {one["step"]: one["state"] for one in site.get(f"/runs/{run['id']}/steps")["items"]}
    assert states == {"flag": "completed", "make": "cached", "tell": "cached"}


def test_a_replay_gives_nobody_what_the_template_has_locked(site: Site, probe: str) -> None:
    site.api.put(f"/run_templates/{probe}/terms", json={"locked": {"factor": 2.0}})
    first = site.ended(site.trigger(probe)["id"])
    answer = site.api.post(f"/runs/{first['id']}/replay", json={"parameters": {"factor": 9.0}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/parameters/factor")
    assert site.get("/runs", template=probe)["total"] == 1


def test_many_that_are_replayed_under_one_key_are_replayed_once(site: Site) -> None:
    site.ended(site.post("/run_templates/lab/runs", {"tags": ["once"]})["id"])
    for _ in range(2):  # the replay has the tag, too, and has ended before the request is repeated
        site.post("/runs/replay", {"where": {"tag": "once"}}, idempotency_key="once-for-many")
        for one in site.get("/runs", tag="once")["items"]:
            site.ended(one["id"])
    assert site.get("/runs", tag="once")["total"] == 2
