"""The application: every route says who may use it, and nobody without credentials gets past an exact list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from penstock.model.account import NOUNS
from penstock.server.access import WHERE, Rule, rule_of
from tests.unit.server.conftest import ask

OPEN = {
    ("GET", "/health"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("POST", "/api/v1/login"),
    ("POST", "/api/v1/sessions"),
    ("POST", "/api/v1/devices"),
    ("GET", "/device"),
    ("POST", "/device"),
    ("POST", "/api/v1/users/activate"),
    ("GET", "/api/v1/openapi.json"),
    ("HEAD", "/api/v1/openapi.json"),
}
WRITING = {"POST", "PUT", "PATCH", "DELETE"}


def table(app: FastAPI) -> Iterator[tuple[str, str, Rule | None]]:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        rule = _rule(route.dependant) if isinstance(route, APIRoute) else None
        for method in context.methods or ():
            yield method, str(context.path), rule


def _rule(dependant: Dependant) -> Rule | None:
    found = [rule_of(one.call) for one in dependant.dependencies]
    return next((one for one in found if one is not None), None)


def test_every_route_names_its_permission_in_its_signature(app: FastAPI) -> None:
    routes = list(table(app))
    assert len(routes) > 35
    assert {(method, path) for method, path, rule in routes if rule is None} == OPEN


def test_no_route_that_changes_something_is_content_with_reading(app: FastAPI) -> None:
    asking = {"/api/v1/step_runs/lookup", "/api/v1/step_runs/take"}  # questions that workers ask, as records
    reading = [path for method, path, rule in table(app) if method in WRITING and rule and rule.permission == "read"]
    content = set(reading)
    assert content == asking


def test_every_noun_that_is_served_is_one_that_a_key_can_be_narrowed_to(app: FastAPI) -> None:
    served = {
        path.removeprefix("/api/v1").lstrip("/").partition("/")[0] for _, path, rule in table(app) if rule is not None
    }
    assert served == set(NOUNS)


def test_a_route_for_confined_callers_about_an_object_has_it_in_its_address(app: FastAPI) -> None:
    for method, path, rule in table(app):
        if rule is not None and rule.about in WHERE:
            assert f"{{{WHERE[rule.about]}" in path, (method, path)


@pytest.mark.parametrize("credential", [None, "Bearer psk_wrong", "Basic eDp5", "Bearer", "Bearer a.b.c"])
def test_without_valid_credentials_every_route_answers_401(app: FastAPI, credential: str | None) -> None:
    headers = {"Authorization": credential} if credential else {}
    for method, path, _ in table(app):
        if (method, path) in OPEN:
            continue
        answer = ask(app, method, path.replace("{", "").replace("}", "").replace(":path", ""), headers=headers)
        assert answer.status_code == 401, (method, path, answer.text)
        if method != "HEAD":
            assert answer.json()["type"] == "urn:penstock:problem:unauthenticated"


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1", "/api/v1/nothing", "/docs", "/metric", "/api/v1/runs/../../health"]
)
def test_what_is_not_served_is_not_found(app: FastAPI, path: str) -> None:
    answer = ask(app, "GET", path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_method_that_is_not_served_is_a_problem_too(app: FastAPI) -> None:
    answer = ask(app, "DELETE", "/health")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"
    assert answer.json()["status"] == 405


def test_it_says_which_methods_are_served_by_all_routes_of_the_path(app: FastAPI) -> None:
    answer = ask(app, "OPTIONS", "/api/v1/runs/one")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


def test_every_refusal_is_described_as_a_problem(app: FastAPI) -> None:
    for path, verbs in app.openapi()["paths"].items():
        for operation in verbs.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"], path
            assert "422" not in operation["responses"]


def test_no_two_addresses_differ_in_the_names_of_their_parameters_alone(app: FastAPI) -> None:
    paths = [re.sub(r"{.*?}", "{}", path) for path in app.openapi()["paths"]]
    assert len(set(paths)) == len(paths)


def test_the_committed_description_is_what_the_server_serves(app: FastAPI) -> None:
    """`make openapi` writes it anew."""
    committed = json.loads(Path("docs/openapi.json").read_text())
    assert committed == app.openapi()


def test_every_operation_has_a_summary_and_an_id_of_its_own(app: FastAPI) -> None:
    operations = [
        operation
        for path in app.openapi()["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert len({one["operationId"] for one in operations}) == len(operations)
    assert all(one.get("description") for one in operations)
