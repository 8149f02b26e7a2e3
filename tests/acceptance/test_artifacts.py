"""What becomes of values: names and versions, notes, lineage, handing over to other runs, pruning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site

NAMES = ("goods", "taking", "handing", "pickled")


@pytest.fixture(scope="module")
def market(site: Site) -> Iterator[Site]:
    for name in NAMES:
        site.template(f"{PIPELINES / 'goods.py'}:{name}", name)
    return site


def run(site: Site, template: str, **parameters: Any) -> dict[str, Any]:
    ended = site.ended(site.trigger(template, parameters)["id"])
    assert ended["state"] == "completed", ended["error"]
    return ended


def test_named_outputs_are_versions_of_one_artifact(market: Site) -> None:
    run(market, "goods", number=4)
    before = market.get("/artifacts/numbers")
    run(market, "goods", number=5)
    latest = market.get("/artifacts/numbers")
    assert int(latest["version"]) == int(before["version"]) + 1
    assert (latest["tags"], latest["user_metadata"]) == (["fresh"], {"by": "make", "length": 5})
    assert market.get(f"/artifacts/numbers@{before['version']}") == before
    answer = market.api.get("/artifacts/nubmers")
    assert (answer.status_code, answer.json()["errors"][0]["did_you_mean"]) == (404, "numbers")
    listed = market.get("/artifacts", name="numbers", size=2)["items"]
    assert [one["version"] for one in listed] == [latest["version"], before["version"]]


def test_what_code_notes_is_on_the_step_and_the_run(market: Site) -> None:
    ended = run(market, "goods", number=3)
    assert ended["outputs"]["doubled"] == [0, 2, 4]
    assert ended["tags"] == ["tagged-by-a-step"]
    steps = {one["step"]: one for one in market.get(f"/runs/{ended['id']}/steps")["items"]}
    assert steps["double"]["metadata"] == {"loss": 0.5, "seen": 3}
    assert ended["id"] in [one["id"] for one in market.get("/runs", tag="tagged-by-a-step")["items"]]
    noted = market.api.patch(f"/runs/{ended['id']}", json={"metadata": {"reviewed": True}, "add_tags": ["good"]}).json()
    assert (noted["metadata"], noted["tags"]) == ({"reviewed": True}, ["tagged-by-a-step", "good"])


def test_lineage_leads_back_and_forth(market: Site) -> None:
    ended = run(market, "goods", number=3)
    steps = {one["step"]: one for one in market.get(f"/runs/{ended['id']}/steps")["items"]}
    doubled = steps["double"]["outputs"]["doubled"]
    found = market.get(f"/artifacts/{doubled}/lineage")
    assert [(one["artifact_id"], one["name"]) for one in found["made_from"]] == [
        (steps["make"]["outputs"]["numbers"], "numbers")
    ]
    assert {(one["step"], one["kind"], one["name"]) for one in found["used"]} == {
        ("double", "output", "doubled"),
        ("keep", "input", "doubled"),
    }
    told = market.penstock("artifact", "lineage", doubled).stdout
    assert "numbers@" in told
    assert "input doubled" in told


def test_a_value_goes_to_another_run_by_its_id_and_both_runs_know_it(market: Site) -> None:
    parent = run(market, "handing", number=3)
    assert parent["outputs"] == {"output": "completed {'output': [0, 1, 2]}"}
    (child,) = market.get("/runs", parent_run_id=parent["id"])["items"]
    assert child["pipeline_name"] == "taking"
    assert (child["cause"]["parent_run_id"], child["cause"]["parent_step"]) == (parent["id"], "hand_over")
    numbers = child["step_parameters"]["take"]["artifact"]
    uses = market.get(f"/artifacts/{numbers}/lineage")["used"]
    assert (child["id"], "take", "input") in [(one["run_id"], one["step"], one["kind"]) for one in uses]
    assert child["name"] in market.penstock("run", "show", parent["id"]).stdout
    assert parent["id"] in market.penstock("run", "show", child["id"]).stdout


def test_a_saved_artifact_is_loaded_by_name_and_version(market: Site) -> None:
    kept = run(market, "goods", number=4)["outputs"]["kept"]
    assert run(market, "taking", artifact=kept)["outputs"] == {"output": 12}
    assert run(market, "taking", artifact=kept.partition("@")[0])["outputs"] == {"output": 12}
    record = market.get(f"/artifacts/{kept}")
    assert (record["tags"], record["user_metadata"], record["step"]) == (["sum"], {"unit": "1"}, "keep")


def test_a_pickle_is_not_loaded_by_another_run_and_the_reason_is_told(market: Site) -> None:
    ended = run(market, "pickled")
    artifact = ended["outputs"]["output"]["artifact"]
    failed = market.ended(market.trigger("taking", {"artifact": artifact})["id"])
    assert failed["state"] == "failed"
    assert "PENSTOCK_ALLOW_PICKLE" in failed["error"]["message"]


def test_prune_is_rehearsed_and_takes_nothing_that_is_young_or_used(market: Site) -> None:
    everything = {"older_than_days": 0, "named": True}
    market.post("/artifacts/prune", everything, 200)  # what deleted runs of other tests in this house have left
    ended = run(market, "goods", number=3)
    rehearsed = market.post("/artifacts/prune", {**everything, "dry_run": True}, 200)
    assert rehearsed == {"artifacts": 0, "blobs": 0, "bytes": 0, "dry_run": True}
    assert "rehearsal" in market.penstock("artifact", "prune", "--dry-run").stderr
    assert market.api.delete(f"/runs/{ended['id']}").status_code == 204
    assert market.api.get(f"/runs/{ended['id']}").status_code == 404
    assert market.get("/artifacts/numbers")["run_id"] is None  # it outlives its run
