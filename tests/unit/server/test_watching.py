"""Every request has an id and is measured; whatever goes wrong has an answer."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from penstock.ids import is_id
from penstock.server.logs import JsonLines, Lines, _identified
from tests.unit.server.conftest import ask


def test_an_id_that_comes_is_kept_and_one_that_does_not_is_made(app: FastAPI) -> None:
    assert ask(app, "GET", "/health", headers={"X-Request-Id": "abc-1/2:3"}).headers["x-request-id"] == "abc-1/2:3"
    assert is_id(ask(app, "GET", "/health").headers["x-request-id"])


@pytest.mark.parametrize("wrong", ["", "a b", "<script>", "x" * 129, "\xe9", "a\tb"])
def test_one_that_is_not_plain_is_not_given_back(app: FastAPI, wrong: str) -> None:
    answer = ask(app, "GET", "/health", headers={"X-Request-Id": wrong.encode("latin-1")})
    assert is_id(answer.headers["x-request-id"])


def test_what_nobody_foresaw_is_answered_measured_and_logged_with_its_request(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/broken/{name}")
    async def broken(request: Request, name: str) -> None:
        def inside() -> None:
            logging.getLogger("penstock.test").warning("about to fail")
            raise RuntimeError("/secret/path")

        await run_in_threadpool(inside)

    caplog.handler.addFilter(_identified)
    answer = ask(app, "GET", "/broken/x", headers={"X-Request-Id": "r1"})
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:penstock:problem:internal-error"
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] == "r1"
    assert [record.request_id for record in caplog.records] == ["r1", "r1"]  # type: ignore[attr-defined]
    figures = app.state.installation.metrics.text().decode()
    assert (
        'penstock_http_request_duration_seconds_count{method="GET",route="/broken/{name}",status="500"} 1.0' in figures
    )


def test_a_caller_that_goes_away_in_the_middle_is_no_error_of_ours(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    @app.post("/taken/{name}")
    async def taken(request: Request, name: str) -> None:
        await request.body()

    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    path = "/taken/x"
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(), "scheme": "http",
        "query_string": b"", "root_path": "", "headers": [(b"host", b"localhost")], "server": ("127.0.0.1", 80), "client": None,
    }  # fmt: skip
    answers: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        answers.append(message)

    asyncio.run(app(scope, receive, send))
    assert answers == []
    assert caplog.records == []
    figures = app.state.installation.metrics.text().decode()
    assert 'method="POST",route="/taken/{name}",status="499"' in figures


def test_what_callers_make_up_makes_no_series(app: FastAPI) -> None:
    for path in ("/a", "/b", "/api/v1/c"):
        ask(app, "GET", path)
    ask(app, "FOO", "/health")
    ask(app, "GET", "/api/v1/runs/one")
    ask(app, "GET", "/api/v1/runs/two")
    lines = [
        one for one in app.state.installation.metrics.text().decode().splitlines() if "duration_seconds_count{" in one
    ]
    assert sorted(line for line in lines if "penstock_http" in line) == [
        'penstock_http_request_duration_seconds_count{method="(other)",route="/health",status="405"} 1.0',
        'penstock_http_request_duration_seconds_count{method="GET",route="(none)",status="404"} 3.0',
        'penstock_http_request_duration_seconds_count{method="GET",route="/api/v1/runs/{reference}",status="401"} 2.0',
    ]


class TestLines:
    record = logging.makeLogRecord(
        {
            "name": "penstock.x",
            "levelname": "INFO",
            "msg": "a\nb %s",
            "args": ("c\r",),
            "run_id": "1",
            "request_id": "r",
        }
    )

    def test_for_machines_they_are_json(self) -> None:
        told = json.loads(JsonLines().format(self.record))
        assert (told["message"], told["level"], told["logger"]) == ("a\nb c\r", "info", "penstock.x")
        assert (told["run_id"], told["request_id"]) == ("1", "r")
        assert "\n" not in JsonLines().format(self.record)

    def test_for_people_a_message_stays_on_one_line(self) -> None:
        line = Lines().format(self.record)
        assert line.endswith("INFO penstock.x: a\\nb c\\r request_id=r run_id=1")
        assert "\n" not in line
