"""The document of a template version over HTTP: what its schema accepts is accepted, what it refuses is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema_rs
import pytest

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site

GOOD: list[dict[str, Any]] = [
    {"parameters": {"whole": 1}},
    {"parameters": {"whole": 1, "real": 2, "items": [None, {"a": 1}], "bounded": 9}},
    {"parameters": {"whole": -1}, "run_name": "from the document {time}", "tags": ["a"]},
    {"parameters": {"whole": 1}, "steps": {}},
    {"parameters": {"whole": 1}, "steps": {"same": {"timeout": 5.0}}},
    {"parameters": {"whole": 1}, "timeout": None, "execution_mode": "fail_fast"},
    {"parameters": {"whole": 1}, "retry": {"max_retries": 2, "delay": 0.1}},
]
BAD: list[Any] = [
    {},
    {"parameters": {}},
    {"parameters": {"whole": None}},
    {"parameters": {"whole": "1"}},
    {"parameters": {"whole": 1.5}},
    {"parameters": {"whole": 1, "bounded": 0}},
    {"parameters": {"whole": 1, "real": True}},
    {"parameters": {"whole": 1, "wole": 1}},
    {"parameters": {"whole": 1}, "steps": {"other": {}}},
    {"parameters": {"whole": 1}, "steps": {"same": {"parameters": {"twig": 1}}}},
    {"parameters": {"whole": 1}, "steps": {"same": {"params": {}}}},
    {"parameters": {"whole": 1}, "execution_mode": "slow"},
    {"parameters": {"whole": 1}, "retry": {"tries": 2}},
    {"parameters": {"whole": 1}, "extras": {}},
    [],
]


@pytest.fixture(scope="module")
def described(site: Site) -> dict[str, Any]:
    site.template(f"{PIPELINES / 'parameters.py'}:door", "door")
    return site.get("/run_templates/door@v1/openapi.json")


def address(described: dict[str, Any]) -> str:
    (path,) = (path for path, verbs in described["paths"].items() if "post" in verbs)
    return path.removeprefix("/api/v1")


def accepts(described: dict[str, Any], name: str, value: Any) -> bool:
    whole = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True).is_valid(value)


@pytest.mark.parametrize("body", GOOD, ids=json.dumps)
def test_what_it_accepts_is_accepted(site: Site, described: dict[str, Any], body: dict[str, Any]) -> None:
    assert accepts(described, "RunConfiguration", body)
    answer = site.api.post(address(described), json=body)
    assert answer.status_code == 202, answer.text
    assert accepts(described, "Run", answer.json())


@pytest.mark.parametrize("body", BAD, ids=json.dumps)
def test_what_it_refuses_is_refused(site: Site, described: dict[str, Any], body: Any) -> None:
    assert not accepts(described, "RunConfiguration", body)
    answer = site.api.post(address(described), json=body)
    assert answer.status_code == 422, answer.text
    assert accepts(described, "Problem", answer.json())


def test_the_ended_run_is_as_described(site: Site) -> None:
    lab = site.get("/run_templates/lab/openapi.json")
    answer = site.api.post(address(lab), json={"parameters": {"number": 5}}, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200
    assert accepts(lab, "Run", answer.json())
    assert accepts(lab, "Outputs", answer.json()["outputs"])
    assert not accepts(lab, "Run", answer.json() | {"outputs": {"output": {"value": "25"}}})


def test_a_reference_may_be_a_name_a_version_or_an_id(site: Site) -> None:
    template = site.get("/run_templates/lab")["template"]
    references = ["lab", f"lab@v{template['versions'][-1]['version']}", template["id"]]
    with ThreadPoolExecutor(3) as pool:
        by_name, by_version, by_id = pool.map(lambda one: site.get(f"/run_templates/{one}/openapi.json"), references)
    assert by_name == by_version == by_id
    assert site.api.get("/run_templates/lab@v99/openapi.json").status_code == 404
    assert site.api.get("/run_templates/lap/openapi.json").status_code == 404


def test_the_command_line_prints_it(site: Site) -> None:
    printed = site.penstock("run-template", "openapi", "lab").stdout
    assert json.loads(printed) == site.get("/run_templates/lab/openapi.json")


def test_what_the_template_keeps_to_itself_is_not_described(site: Site) -> None:
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab-with-terms")
    terms = {"locked": {"deed": "square"}, "presets": {"big": {"parameters": {"number": 9}}}}
    assert site.api.put("/run_templates/lab-with-terms/terms", json=terms).status_code == 200
    schemas = site.get("/run_templates/lab-with-terms/openapi.json")["components"]["schemas"]
    assert schemas["RunConfiguration"]["properties"]["preset"]["enum"] == ["big", None]
    assert schemas["Parameters"]["properties"]["deed"]["const"] == "square"
    assert "deed" not in schemas["act_parameters"]["properties"]
