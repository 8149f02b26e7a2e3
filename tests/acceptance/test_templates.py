"""Versions, aliases, presets and locks of a run template, as their callers meet them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.site_under_test import Site

FIRST = """
from typing import Literal
from penstock import pipeline, step

@step
def fit(rate: float, kind: str) -> str:
    return f"{kind} {rate}"

@pipeline
def PIPE(rate: float = 0.1, kind: Literal["rf", "gb"] = "rf", region: str = "eu") -> str:
    return fit(rate, kind)
"""
SAFE = FIRST.replace("0.1", "0.2").replace('f"{kind} {rate}"', 'f"{kind}: {rate}"')
BREAKING = FIRST.replace('Literal["rf", "gb"] = "rf"', 'Literal["gb"] = "gb"')


@pytest.fixture
def versions(site: Site, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A template with three versions: the second fits all callers of the first, the third does not."""
    name = request.node.name.replace("_", "-")[5:60]
    for text in (FIRST, SAFE, BREAKING):
        (tmp_path / "project.py").write_text(text.replace("PIPE", name.replace("-", "_")))
        site.template(f"{tmp_path / 'project.py'}:{name.replace('-', '_')}", name)
    return name


def promote(site: Site, name: str, version: str, alias: str, **more: Any) -> Any:
    return site.api.put(f"/run_templates/{name}/aliases/{alias}", json={"version": version, **more})


def run(site: Site, reference: str, status: int = 202, **configuration: Any) -> Any:
    answer = site.api.post(f"/run_templates/{reference}/runs", json=configuration)
    assert answer.status_code == status, answer.text
    return site.ended(answer.json()["id"]) if status == 202 else answer.json()


def test_aliases_move_and_come_back(site: Site, versions: str) -> None:
    assert run(site, f"{versions}@v1")["outputs"] == {"output": "rf 0.1"}
    assert run(site, versions, parameters={"kind": "gb"})["template_version"] == 3  # no alias yet: the latest
    assert promote(site, versions, "v1", "prod", allow_breaking=True).status_code == 200
    assert run(site, f"{versions}@prod")["outputs"] == {"output": "rf 0.1"}
    moved = promote(site, versions, "v2", "prod", note="better").json()
    assert moved["aliases"] == {"prod": 2}
    assert run(site, f"{versions}@prod")["outputs"] == {"output": "rf: 0.2"}
    assert site.post(f"/run_templates/{versions}/aliases/prod/rollback")["aliases"] == {"prod": 1}
    assert run(site, f"{versions}@prod")["outputs"] == {"output": "rf 0.1"}
    history = site.get(f"/run_templates/{versions}/aliases/prod")
    assert [(one["number"], one["version"], one["account"]) for one in history] == [
        (3, 1, "owner"),
        (2, 2, "owner"),
        (1, 1, "owner"),
    ]
    assert [one["note"] for one in history] == ["Rolled back.", "better", None]
    assert site.api.delete(f"/run_templates/{versions}/aliases/prod").json()["aliases"] == {}
    refused = run(site, f"{versions}@prod", status=404)
    assert refused["errors"][0]["allowed"] == ["latest", "v3", "v2", "v1"]


def test_the_bare_name_means_the_alias_default(site: Site, versions: str) -> None:
    assert promote(site, versions, "v2", "default", allow_breaking=True).status_code == 200
    assert run(site, versions)["template_version"] == 2
    assert run(site, f"{versions}@latest")["template_version"] == 3
    shown = site.get(f"/run_templates/{versions}")
    assert (shown["version"], shown["parameter_schema"]["properties"]["rate"]["default"]) == (2, 0.2)


def test_a_version_that_breaks_callers_is_not_promoted_unless_it_is_meant(site: Site, versions: str) -> None:
    promote(site, versions, "v1", "prod", allow_breaking=True)
    caller = run(site, f"{versions}@prod", parameters={"kind": "rf"})
    refused = promote(site, versions, "v3", "prod")
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["type"] == "urn:penstock:problem:breaking-change"
    told = {one["pointer"]: one["message"] for one in problem["errors"]}
    assert "/parameters/kind" in told
    assert "rf" in told[f"/runs/{caller['name']}"]
    assert site.get(f"/run_templates/{versions}")["template"]["aliases"] == {"prod": 1}
    assert promote(site, versions, "v3", "prod", allow_breaking=True).json()["aliases"] == {"prod": 3}


def test_the_difference_names_what_changed_and_whom_it_hits(site: Site, versions: str) -> None:
    run(site, f"{versions}@v1", parameters={"kind": "rf"})
    run(site, f"{versions}@v1", parameters={"kind": "gb"})
    site.api.put(f"/run_templates/{versions}/terms", json={"presets": {"small": {"parameters": {"kind": "gb"}}}})
    safe = site.get(f"/run_templates/{versions}/diff", **{"from": "v1", "to": "v2"})
    assert (safe["breaking"], safe["hits"], safe["checked"], safe["cache_lost"]) == (False, [], 3, ["fit"])
    assert {(one["subject"], one["name"]) for one in safe["changes"]} == {
        ("parameter", "rate"),
        ("step", "fit"),
        ("code", "archive"),
    }
    bad = site.get(f"/run_templates/{versions}/diff", **{"from": "v1", "to": "latest"})
    assert bad["breaking"]
    assert [one["kind"] for one in bad["hits"]] == ["run"]
    assert bad["changes"][0]["breaking"]
    printed = site.penstock("run-template", "diff", versions, "v1", "v3").stderr
    assert "Of 3 presets and recent runs, v3 would refuse 1." in printed
    assert site.api.get(f"/run_templates/{versions}/diff", params={"from": "v1"}).status_code == 422
    assert site.api.get(f"/run_templates/{versions}/diff", params={"from": "v1", "to": "v9"}).status_code == 404


def test_of_two_who_move_an_alias_only_one_moves_it(site: Site, versions: str) -> None:
    def move(number: int) -> int:
        wanted = f"v{number % 2 + 1}"
        return promote(site, versions, wanted, "canary", expected=0, allow_breaking=True).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(move, range(8)))
    assert answers.count(200) == 1
    assert len(site.get(f"/run_templates/{versions}/aliases/canary")) == 1


@pytest.mark.parametrize("alias", ["latest", "v3", "v-1", "Prod", "a/b", "x" * 70])
def test_names_that_cannot_be_aliases_are_refused(site: Site, alias: str) -> None:
    answer = site.api.put(f"/run_templates/lab/aliases/{alias.replace('/', '%2F')}", json={"version": "v1"})
    assert answer.status_code in (404, 422)
    assert site.get("/run_templates/lab")["template"]["aliases"] == {}


def test_terms_lie_between_the_code_and_the_caller(site: Site, versions: str) -> None:
    terms = {
        "defaults": {"parameters": {"rate": 0.5}, "tags": ["from-terms"], "timeout": 60},
        "presets": {
            "fast": {"parameters": {"rate": 0.9}, "tags": ["fast"]},
            "deep": {"steps": {"fit": {"parameters": {"rate": 0.7}}}},
        },
        "locked": {"region": "us"},
    }
    answer = site.api.put(f"/run_templates/{versions}/terms", json=terms)
    assert answer.status_code == 200, answer.text
    plain = run(site, f"{versions}@v1")
    assert (plain["outputs"], plain["tags"]) == ({"output": "rf 0.5"}, ["from-terms"])
    assert plain["parameters"]["region"] == "us"
    assert plain["origins"] == {
        "/parameters/rate": "template",
        "/parameters/region": "lock",
        "/parameters/kind": "default",
    }
    fast = run(site, f"{versions}@v1", preset="fast")
    assert (fast["outputs"], fast["tags"]) == ({"output": "rf 0.9"}, ["from-terms", "fast"])
    revision = answer.json()["revision"]
    assert fast["origins"]["/parameters/rate"] == f"preset fast, revision {revision}"
    site.api.put(f"/run_templates/{versions}/terms", json=terms | {"price_per_hour": 1})
    again = run(site, f"{versions}@v1", preset="fast")
    assert again["origins"]["/parameters/rate"] == f"preset fast, revision {revision + 1}"
    assert site.get(f"/runs/{fast['id']}")["origins"] == fast["origins"]
    own = run(site, f"{versions}@v1", preset="fast", parameters={"rate": 0.3})
    assert (own["outputs"], own["origins"]["/parameters/rate"]) == ({"output": "rf 0.3"}, "request")
    # What comes later wins, although a value of a step goes before one of the pipeline when both are said at once.
    assert run(site, f"{versions}@v1", preset="deep")["outputs"] == {"output": "rf 0.7"}
    assert run(site, f"{versions}@v1", preset="deep", parameters={"rate": 0.3})["outputs"] == {"output": "rf 0.3"}
    assert run(site, f"{versions}@v1", parameters={"region": "us"})["parameters"]["region"] == "us"
    refused = run(site, versions, 422, parameters={"region": "eu"})
    assert refused["errors"][0]["pointer"] == "/parameters/region"
    unknown = run(site, versions, 422, preset="fest")
    assert (unknown["errors"][0]["pointer"], unknown["errors"][0]["did_you_mean"]) == ("/preset", "fast")
    snapshot = site.get(f"/run_templates/{versions}")["template"]["versions"][0]["snapshot_id"]
    other = site.api.post("/runs", json={"snapshot_id": snapshot, "preset": "fast"})
    assert other.status_code == 422, other.text


def test_callers_neither_see_nor_give_what_is_hidden_or_locked(site: Site, versions: str) -> None:
    site.api.put(f"/run_templates/{versions}/terms", json={"hidden": ["region"], "locked": {"rate": 0.4}})
    shown = site.get(f"/run_templates/{versions}")
    assert set(shown["parameter_schema"]["properties"]) == {"rate", "kind"}
    assert shown["parameter_schema"]["properties"]["rate"]["const"] == 0.4
    assert shown["config_template"]["parameters"] == {"kind": "gb"}
    refused = run(site, versions, 422, parameters={"region": "eu"})
    assert "region" not in refused["errors"][0]["allowed"]
    past = run(site, versions, 422, steps={"fit": {"parameters": {"rate": 0.9}}})
    assert past["errors"][0]["pointer"] == "/steps/fit/parameters/rate"
    assert run(site, versions)["outputs"] == {"output": "gb 0.4"}


def test_terms_that_do_not_fit_are_refused_whole(site: Site, versions: str) -> None:
    terms = {
        "defaults": {"parameters": {"rte": 1}},
        "presets": {"p": {"parameters": {"rate": "fast", "region": "eu"}, "preset": "q"}},
        "locked": {"region": "us", "knd": 1},
        "hidden": ["regoin"],
    }
    answer = site.api.put(f"/run_templates/{versions}/terms", json=terms)
    assert answer.status_code == 422
    told = {one["pointer"]: one.get("did_you_mean") for one in answer.json()["errors"]}
    assert told == {
        "/terms/locked/knd": "kind",
        "/terms/hidden/0": "region",
        "/terms/defaults/parameters/rte": "rate",
        "/terms/presets/p/parameters/rate": None,
        "/terms/presets/p/parameters/region": None,
        "/terms/presets/p/preset": None,
    }
    assert site.get(f"/run_templates/{versions}")["template"]["terms"]["locked"] == {}
    assert site.api.put(f"/run_templates/{versions}/terms", json={"lock": {}}).status_code == 422


def test_terms_are_kept_as_a_file(site: Site, versions: str, tmp_path: Path) -> None:
    file = tmp_path / "terms.yaml"
    file.write_text(
        "presets:\n  prod:\n    parameters: {rate: 1e-3, kind: gb}\n    tags: ['on']\nlocked:\n  region: '1'\n"
    )
    site.penstock("run-template", "terms", versions, "--set", str(file))
    printed = site.penstock("run-template", "terms", versions).stdout
    file.write_text(printed)
    assert "revision 2" in site.penstock("run-template", "terms", versions, "--set", str(file)).stderr
    kept = json.loads(site.penstock("run-template", "terms", versions, "-o", "json").stdout)
    assert kept == {
        "presets": {"prod": {"parameters": {"rate": 0.001, "kind": "gb"}, "tags": ["on"]}},
        "locked": {"region": "1"},
    }
    stale = site.penstock("run-template", "terms", versions, "--set", str(file), "--revision", "1", status=None)
    assert "revision 2 by now" in stale.stderr
    ran = site.penstock("run-template", "run", versions, "--preset", "prod", "-o", "json").stdout
    assert json.loads(ran)["outputs"] == {"output": "gb 0.001"}


def test_the_command_line_promotes_and_rolls_back(site: Site, versions: str) -> None:
    promoted = site.penstock("run-template", "promote", versions, "v1", "staging", "--allow-breaking").stdout
    assert "staging = v1" in promoted
    site.penstock("run-template", "promote", versions, "v2", "staging", "--expected", "v1", "--note", "try it")
    assert "staging = v1" in site.penstock("run-template", "rollback", versions, "staging").stdout
    history = site.penstock("run-template", "history", versions, "staging").stdout
    assert "try it" in history
    assert "staging" not in site.penstock("run-template", "delete-alias", versions, "staging").stdout
    refused = site.penstock("run-template", "promote", versions, "v1", "staging", "--expected", "v1", status=None)
    assert (refused.returncode, "somebody moved it" in refused.stderr) != (0, False)


def test_who_may_only_run_moves_nothing(site: Site, versions: str) -> None:
    caller = site.keyed(site.key(f"caller-{versions}"))
    for method, path in (
        ("PUT", "aliases/prod"),
        ("POST", "aliases/prod/rollback"),
        ("DELETE", "aliases/prod"),
        ("PUT", "terms"),
    ):
        body = {"version": "v1"} if path == "aliases/prod" else {}
        answer = caller.request(method, f"/run_templates/{versions}/{path}", json=body)
        assert answer.status_code == 403, (method, path, answer.text)


def test_two_runs_are_held_against_each_other(site: Site, versions: str) -> None:
    first = run(site, f"{versions}@v1", parameters={"rate": 0.5})
    second = run(site, f"{versions}@v2")
    found = site.get(f"/runs/{first['id']}/diff", **{"with": second["name"]})
    assert (found["before"], found["after"]) == (first["name"], second["name"])
    assert ("step", "fit") in {(one["subject"], one["name"]) for one in found["versions"]}
    told = {(one["topic"], one["name"]): one for one in found["differences"]}
    rate = told["parameter", "rate"]
    assert (rate["before"], rate["after"], rate["note"]) == (0.5, 0.2, "request -> default")
    assert (told["output", "output"]["before"], told["output", "output"]["after"]) == ("rf 0.5", "rf: 0.2")
    printed = site.penstock("run", "diff", first["name"], second["name"]).stdout
    assert "Its code changed." in printed
    assert "request -> default" in printed
    assert site.api.get(f"/runs/{first['id']}/diff", params={"with": "nobody"}).status_code == 404
    assert site.api.get(f"/runs/{first['id']}/diff").status_code == 422
    same = site.get(f"/runs/{first['id']}/diff", **{"with": first["id"]})
    assert (same["versions"], same["differences"]) == ([], [])
