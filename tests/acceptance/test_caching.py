"""Caching over several runs: what is taken, what is not, and that everybody is told why."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site


@pytest.fixture(scope="module")
def market(site: Site) -> Site:
    site.template(f"{PIPELINES / 'cached.py'}:cached", "cached")
    return site


def run(site: Site, template: str = "cached", **body: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    started = site.post(f"/run_templates/{template}/runs", body)
    ended = site.ended(started["id"])
    assert ended["state"] == "completed", ended["error"]
    return ended, {one["step"]: one for one in site.get(f"/runs/{ended['id']}/steps")["items"]}


def test_a_second_run_takes_what_has_not_changed_and_says_so(market: Site) -> None:
    first, _ = run(market, parameters={"n": 5})
    second, steps = run(market, parameters={"n": 5})
    assert {name: one["state"] for name, one in steps.items()} == {
        "load": "cached",
        "fit": "cached",
        "report": "completed",
    }
    assert steps["fit"]["cache"]["from_run"] == first["id"]
    assert second["outputs"] == {"output": f"{second['id']} 5.0"}
    shown = market.penstock("run", "show", second["id"]).stdout
    assert f"Taken from step fit of run {first['name']}: nothing it hangs on has changed." in shown
    uses = market.get(f"/artifacts/{steps['fit']['outputs']['output']}/lineage")["used"]
    assert {one["run_id"] for one in uses} >= {first["id"], second["id"]}


def test_a_miss_says_what_has_changed_and_a_run_may_do_without(market: Site) -> None:
    before, _ = run(market, parameters={"n": 6})
    _, steps = run(market, parameters={"n": 6, "rate": 0.25})
    assert steps["load"]["state"] == "cached"
    assert steps["fit"]["cache"]["reason"] == f"Not in the cache: parameter rate changed since run {before['name']}."
    _, steps = run(market, parameters={"n": 6}, enable_cache=False)
    assert {one["state"] for one in steps.values()} == {"completed"}
    assert steps["fit"]["cache"] is None


def test_changed_code_is_carried_out_again(market: Site, tmp_path: Path) -> None:
    before, _ = run(market, parameters={"n": 7})
    changed = tmp_path / "cached.py"
    shutil.copy(PIPELINES / "cached.py", changed)
    changed.write_text(changed.read_text().replace("rate * sum(values)", "rate * sum(values) + 1"))
    market.template(f"{changed}:cached", "cached-changed")
    _, steps = run(market, "cached-changed", parameters={"n": 7})
    assert steps["load"]["state"] == "cached", steps["load"]["cache"]
    assert steps["fit"]["cache"]["reason"] == f"Not in the cache: code changed since run {before['name']}."


def test_results_that_were_removed_are_made_again(market: Site) -> None:
    _, steps = run(market, parameters={"n": 8})
    artifact = market.get(f"/artifacts/{steps['load']['outputs']['output']}")
    for file in artifact["files"]:
        (market.home / "artifacts" / "sha256" / file["digest"][:2] / file["digest"][2:]).unlink()
    _, steps = run(market, parameters={"n": 8})
    assert steps["load"]["state"] == "completed"
    assert "is not in the artifact store any more" in steps["load"]["cache"]["reason"]
