"""Time limits in real processes: the work stops, whatever it is doing, and the run says why."""

from __future__ import annotations

import psutil
import pytest

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually


@pytest.fixture(scope="module")
def market(site: Site) -> Site:
    site.template(f"{PIPELINES / 'slow.py'}:slow", "slow")
    site.template(f"{PIPELINES / 'slow.py'}:limited", "limited")
    return site


def nothing_is_left(site: Site, run_id: str) -> bool:
    """Whether no process of the run is alive."""
    for process in site.processes():
        try:
            if process.environ().get("PENSTOCK_RUN_ID") == run_id:
                return False
        except psutil.Error:
            continue
    return True


@pytest.mark.parametrize(
    ("how", "helpers", "words"),
    [
        ("sleeps", 0, "did not end within 0.3 s."),
        ("locked", 0, "did not end within 0.3 s."),
        ("sleeps", 3, "did not end within 0.3 s."),
        ("deaf", 0, "exited with"),
    ],
)
def test_a_step_is_stopped_and_its_process_is_gone(market: Site, how: str, helpers: int, words: str) -> None:
    run = market.ended(market.trigger("slow", {"how": how, "helpers": helpers})["id"])
    assert run["state"] == "failed"
    assert words in run["error"]["message"], run["error"]
    eventually(lambda: nothing_is_left(market, run["id"]), what="the run's processes gone")
    if how == "deaf":
        assert "Timeout" in run["error"]["traceback"]
        assert "slow.py" in run["error"]["traceback"]


def test_a_run_has_a_limit_of_its_own_which_who_starts_it_may_set(market: Site) -> None:
    run = market.ended(market.trigger("limited")["id"])
    assert (run["state"], run["error"]["message"]) == ("failed", f"Run {run['name']} did not end within 0.5 s.")
    started = market.post("/run_templates/limited/runs", {"timeout": 0.2})
    run = market.ended(started["id"])
    assert run["error"]["message"] == f"Run {run['name']} did not end within 0.2 s."
    assert {step["state"] for step in market.get(f"/runs/{run['id']}/steps")["items"]} == {"failed"}
