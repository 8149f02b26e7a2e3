"""A plan says what a trigger would do, and its token holds the trigger to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site

DATED = "dated"  # what a date is in code, only code knows: never foretold


@pytest.fixture(scope="module")
def desk(site: Site) -> Site:
    site.template(f"{PIPELINES / 'planned.py'}:planned", "planned")
    return site


def plan(site: Site, status: int = 200, **configuration: Any) -> Any:
    answer = site.api.post("/run_templates/planned/plan", json=configuration)
    assert answer.status_code == status, answer.text
    return answer.json()


def verdicts(planned: Any) -> dict[str, str]:
    return {one["step"]: one["verdict"] for one in planned["steps"]}


def carried_out(site: Site, status: int = 202, token: str | None = None, **configuration: Any) -> Any:
    headers = {} if token is None else {"Plan-Token": token}
    answer = site.api.post("/run_templates/planned/runs", json=configuration, headers=headers)
    assert answer.status_code == status, answer.text
    if status != 202:
        return answer.json()
    run = site.ended(answer.json()["id"])
    assert run["state"] == "completed", run["error"]
    return {one["step"]: one["state"] for one in site.get(f"/runs/{run['id']}/steps")["items"]}


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"parameters": {"n": 3}},
        {"parameters": {"rate": 2}},
        {"parameters": {"rate": 2.5, "weights": {"a": 1, "b": 0.5}}},
        {"parameters": {"kind": "b", "names": ["long", "é"]}},
        {"parameters": {"text": "does not matter"}},
        {"steps": {"fit": {"parameters": {"rate": 4}}}},
        {"steps": {"load": {"enable_cache": False}}},
        {"enable_cache": False},
    ],
)
def test_what_is_foretold_comes_true(desk: Site, configuration: dict[str, Any]) -> None:
    runs = len(desk.get("/runs", template="planned", size=200)["items"])
    for _ in range(2):
        foretold = verdicts(plan(desk, **configuration))
        assert foretold.pop(DATED) in ("unknown", "run")
        became = carried_out(desk, **configuration)
        for step, verdict in foretold.items():
            allowed = {"cached": ["cached"], "run": ["completed"], "unknown": ["completed", "cached"]}[verdict]
            assert became[step] in allowed, (step, foretold, became)
    if "enable_cache" not in str(configuration):  # the second time everything is known
        assert set(foretold.values()) == {"cached"}
    assert len(desk.get("/runs", template="planned", size=200)["items"]) == runs + 2  # planning has started nothing


def test_the_reason_the_origin_and_the_times_are_told(desk: Site) -> None:
    carried_out(desk, parameters={"n": 7})
    found = plan(desk, parameters={"n": 8})
    steps = {one["step"]: one for one in found["steps"]}
    assert "parameter n changed since run planned-" in steps["load"]["reason"]
    assert steps["fit"]["verdict"] == "unknown"
    assert "step load" in steps["fit"]["reason"]
    assert steps["load"]["seconds"] >= 0
    assert found["seconds"] > 0
    assert found["origins"]["/parameters/n"] == "request"
    assert found["place"]["slots"] > 0


def test_a_trigger_is_held_to_its_plan(desk: Site) -> None:
    wanted = {"parameters": {"n": 11}}
    first = plan(desk, **wanted)
    assert plan(desk, **wanted)["token"] == first["token"]
    assert carried_out(desk, 409, first["token"], parameters={"n": 12})["type"] == "urn:penstock:problem:plan-changed"
    before = len(desk.get("/runs", template="planned", size=200)["items"])
    assert carried_out(desk, 409, "plan_of_nobody", **wanted)["status"] == 409
    assert len(desk.get("/runs", template="planned", size=200)["items"]) == before
    carried_out(desk, 202, first["token"], **wanted)
    carried_out(desk, 409, first["token"], **wanted)  # now the cache has it: no longer what was planned
    again = plan(desk, **wanted)
    assert again["token"] != first["token"]
    desk.api.put("/run_templates/planned/terms", json={"defaults": {"parameters": {"text": "new"}}})
    try:
        carried_out(desk, 409, again["token"], **wanted)
    finally:
        desk.api.put("/run_templates/planned/terms", json={})


def test_mistakes_are_those_of_a_trigger(desk: Site) -> None:
    body = {"parameters": {"nn": 1}}
    assert plan(desk, 422, **body)["errors"] == carried_out(desk, 422, **body)["errors"]
    assert desk.api.post("/run_templates/planed/plan", json={}).status_code == 404
    assert desk.api.post("/runs/plan", json={}).status_code == 422
    assert desk.api.post("/runs/plan", json={"pipeline": "planned"}).status_code == 200


def test_the_command_line_shows_a_plan_and_holds_a_run_to_it(desk: Site) -> None:
    shown = desk.penstock("run-template", "run", "planned", "-p", "n=21", "--plan")
    assert "Nobody" not in shown.stdout
    assert "parameter n changed" in shown.stdout
    token = shown.stderr.split("--plan-token ")[1].split()[0]
    held = ("run-template", "run", "planned", "-p", "n=21", "--plan-token", token, "-o", "json")
    assert '"completed"' in desk.penstock(*held).stdout
    assert "Something has changed" in desk.penstock(*held, status=None).stderr


def test_what_it_costs_is_told_where_an_hour_has_a_price(desk: Site) -> None:
    carried_out(desk)
    assert plan(desk)["cost"] is None
    refused = desk.api.put("/run_templates/planned/terms", json={"price_per_hour": -1})
    assert refused.status_code == 422
    terms = desk.api.put("/run_templates/planned/terms", json={"price_per_hour": 3600})
    assert terms.json()["terms"]["price_per_hour"] == 3600
    told = plan(desk)
    assert told["cost"] == {"amount": round(told["seconds"], 6), "currency": "USD", "per_hour": 3600}
    [used] = desk.get("/run_templates/planned/usage")
    assert used["cost"]["amount"] == round(used["seconds"], 6) > 0
    assert " USD" in desk.penstock("run-template", "run", "planned", "--plan").stderr
    assert " USD" in desk.penstock("run-template", "usage", "planned").stdout
    desk.api.put("/run_templates/planned/terms", json={})
    assert plan(desk)["cost"] is None
