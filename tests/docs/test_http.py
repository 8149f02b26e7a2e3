from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import errors
from penstock.errors import PenstockError
from penstock.server.app import create_app, open_installation
from penstock.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text()


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    installation = open_installation(settings, "unix:nowhere")
    yield create_app(installation).openapi()
    installation.db.close()


def routes(openapi: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{verb.upper()} {path}": found for path, verbs in openapi["paths"].items() for verb, found in verbs.items()
    }


ROWS = dict(re.findall(r"^\| `((?:GET|POST|PUT|DELETE|PATCH) \S+)` \| (.*?) ?\|$", PAGE, re.MULTILINE))


def test_the_page_has_every_route_and_no_other(openapi: dict[str, Any]) -> None:
    assert set(ROWS) == set(routes(openapi))


def test_the_page_names_the_filters_that_the_routes_take(openapi: dict[str, Any]) -> None:
    common = {"size", "cursor", "page", "hydrate", "logical_operator"}
    taken = {
        name: {one["name"] for one in found.get("parameters", []) if one["in"] == "query"} - common
        for name, found in routes(openapi).items()
    }
    told = {name: set(re.findall(r"`(\w+)`", text)) for name, text in ROWS.items() if re.match("filter|query", text)}
    lists = {name: names for name, names in taken.items() if name in told or f"{name}/{{reference}}" in taken}
    assert {name: told.get(name, set()) for name in lists} == lists


def kinds(root: type[PenstockError]) -> Iterator[type[PenstockError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_the_page_has_every_kind_of_error_that_a_server_sends() -> None:
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})?) \| (.*?) \| .* \|$", PAGE, re.MULTILINE)
    told = {slug for _, slugs in rows for slug in re.findall(r"`([\w-]+)`", slugs)}
    sent = {kind for kind in kinds(PenstockError) if kind.status != 500 and kind.__module__ == errors.__name__}
    assert told == {kind.slug for kind in sent}
    assert {int(status) for statuses, _ in rows for status in statuses.split(", ")} == {kind.status for kind in sent}
