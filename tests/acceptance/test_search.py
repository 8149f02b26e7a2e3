"""Runs and templates are found by words, tags, account and time; in every way of asking."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site


@pytest.fixture(scope="module")
def known(site: Site) -> dict[str, Any]:
    """A template of this module, and two runs of it, one with a name of its own."""
    site.template(f"{PIPELINES / 'lab.py'}:lab", "search-Weekly")
    plain = site.trigger("search-Weekly", {"number": 2})
    body = {"parameters": {"number": 3}, "run_name": "Zebra crossing 7", "tags": ["striped", "street"]}
    named = site.api.post("/run_templates/search-Weekly/runs", json=body).json()
    for run in (plain, named):
        site.ended(run["id"])
    return {"plain": plain, "named": named}


def names(page: dict[str, Any]) -> list[str]:
    return [one["name"] for one in page["items"]]


def test_over_http(site: Site, known: dict[str, Any]) -> None:
    plain, named = known["plain"], known["named"]
    assert names(site.get("/run_templates", q="WEEKLY search")) == ["search-Weekly"]
    assert names(site.get("/run_templates", q="weekly nothing")) == []
    assert names(site.get("/runs", q="zebra")) == names(site.get("/runs", q="7 Zebra")) == [named["name"]]
    assert names(site.get("/runs", q="weekly")) == [named["name"], plain["name"]]
    assert names(site.get("/runs", q="weekly", tag="striped")) == [named["name"]]
    assert names(site.get("/runs", tag=["striped", "street"])) == [named["name"]]
    assert names(site.get("/runs", tag=["striped", "other"])) == []
    found = names(site.get("/runs", template="search-Weekly", version=1, state=["completed", "failed"]))
    assert found == [named["name"], plain["name"]]
    account = plain["cause"]["account"]
    assert plain["name"] in names(site.get("/runs", account=account, created_after=plain["created"], size=200))
    assert plain["name"] not in names(site.get("/runs", created_before=plain["created"], size=200))


def test_mistakes_are_told(site: Site) -> None:
    for query, pointer in (
        ({"q": "-"}, "/query/q"),
        ({"created_after": "2026-11-26T00:00:00"}, "/query/created_after"),
        ({"version": 0}, "/query/version"),
        ({"state": ["done"]}, "/query/state/0"),
    ):
        refused = site.api.get("/runs", params=query)
        assert refused.status_code == 422, query
        assert pointer in [one["pointer"] for one in refused.json()["errors"]]


@pytest.mark.parametrize("noun", ["runs", "run_templates", "pipelines", "decisions", "artifacts"])
def test_a_filter_that_there_is_not_names_those_that_there_are(site: Site, noun: str) -> None:
    refused = site.api.get(f"/{noun}", params={"sise": 3})
    assert refused.status_code == 422, refused.text
    [mistake] = refused.json()["errors"]
    assert (mistake["pointer"], mistake["did_you_mean"]) == ("/query/sise", "size")
    for name in mistake["allowed"]:  # each is one that the list knows
        answer = site.api.get(f"/{noun}", params={name: "?"})
        assert not any("no such field" in one["message"] for one in answer.json().get("errors", ())), name


def test_from_the_command_line(site: Site, known: dict[str, Any]) -> None:
    printed = site.penstock("run", "list", "--search", "zebra", "--tag", "striped", "--tag", "street", "-o", "json")
    assert names(json.loads(printed.stdout)) == [known["named"]["name"]]
    printed = site.penstock(
        "run", "list", "-q", "zebra", "--after", "2020-01-01", "--before", "2020-01-02", "-o", "json"
    )
    assert names(json.loads(printed.stdout)) == []
    assert "search-Weekly" in site.penstock("run-template", "list", "--search", "weekly").stdout
    assert "lab" in site.penstock("pipeline", "list", "--search", "LAB").stdout
    rehearsed = site.penstock("run", "replay-many", "--search", "crossing zebra", "--dry-run", "-o", "json").stdout
    assert [one["name"] for one in json.loads(rehearsed)["items"]] == [known["named"]["name"]]


def test_tags_are_put_on_and_taken_off(site: Site) -> None:
    site.template(f"{PIPELINES / 'lab.py'}:lab", "tagged")
    run = site.ended(site.trigger("tagged")["id"])
    told = site.penstock("run", "tag", run["name"], "--add", "good", "--add", "kept").stderr
    assert told == f"Run {run['name']} has the tags: good, kept.\n"
    assert [one["id"] for one in site.get("/runs", tag=["good", "kept"])["items"]] == [run["id"]]
    left = site.penstock("run", "tag", run["name"], "--remove", "kept", "-o", "json").stdout
    assert json.loads(left) == {"tags": ["good"]}
    assert site.penstock("run-template", "tag", "tagged", "--add", "prod-ready").stderr.count("prod-ready") == 1
    assert [one["name"] for one in site.get("/run_templates", tag="prod-ready")["items"]] == ["tagged"]
