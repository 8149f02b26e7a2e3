"""What browsers are told, on every answer; and which pages may call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from penstock.errors import PenstockError
from penstock.server.app import create_app, open_installation
from penstock.server.browsers import HEADERS, origins
from penstock.settings import Settings
from tests.unit.server.conftest import ask

PAGE = "https://app.example.com"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("GET", "/nothing"), ("GET", "/api/v1/runs"), ("DELETE", "/health")]
)
def test_every_answer_has_them_errors_too(app: FastAPI, method: str, path: str) -> None:
    headers = ask(app, method, path).headers
    for name, value in HEADERS:
        assert headers[name.decode()] == value.decode()
    assert "strict-transport-security" not in headers
    assert "'unsafe" not in headers["content-security-policy"]


def test_without_a_list_no_page_may_call(app: FastAPI) -> None:
    preflight = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    for method, headers in (("OPTIONS", preflight), ("GET", {"Origin": PAGE}), ("GET", {"Origin": "null"})):
        answer = ask(app, method, "/api/v1/runs", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


class TestWithAList:
    @pytest.fixture
    def app(self, tmp_path: Path) -> Iterator[FastAPI]:
        here = open_installation(Settings(home=tmp_path, origins=PAGE), f"unix:{tmp_path}/s")
        yield create_app(here)
        here.db.close()

    def test_the_pages_on_it_may_and_no_others(self, app: FastAPI) -> None:
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        answer = ask(app, "OPTIONS", "/api/v1/runs", headers={"Origin": PAGE, **preflight})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "access-control-allow-credentials" not in answer.headers
        for origin in (
            "https://evil.example",
            "https://app.example.com.evil.example",
            "null",
            "http://app.example.com",
        ):
            answer = ask(app, "OPTIONS", "/api/v1/runs", headers={"Origin": origin, **preflight})
            assert "access-control-allow-origin" not in answer.headers

    def test_errors_may_be_read_by_them_too(self, app: FastAPI) -> None:
        answer = ask(app, "GET", "/api/v1/runs", headers={"Origin": PAGE})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, PAGE)


@pytest.mark.parametrize("wrong", ["*", "https://*.example.com", "app.example.com", "https://a/b", "null"])
def test_what_is_no_origin_is_refused(wrong: str) -> None:
    with pytest.raises(PenstockError, match="PENSTOCK_ORIGINS"):
        origins(f"{PAGE}, {wrong}")
