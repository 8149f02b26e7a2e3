"""What happens to a request before it is routed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from penstock.server.edge import Edge


def send(body: Iterable[bytes], path: str = "/api/v1/runs", **headers: str) -> tuple[int, bytes, dict[str, Any]]:
    """Send a body in chunks to an application that echoes it; the status, the answer, and the scope it saw."""
    chunks = list(body)
    messages = [
        {"type": "http.request", "body": chunk, "more_body": at < len(chunks) - 1} for at, chunk in enumerate(chunks)
    ]
    sent: list[Any] = []
    seen: dict[str, Any] = {}

    async def echo(scope: Any, receive: Any, reply: Any) -> None:
        seen.update(scope)
        read = b""
        more = True
        while more:
            message = await receive()
            read += message["body"]
            more = message["more_body"]
        await reply({"type": "http.response.start", "status": 200, "headers": []})
        await reply({"type": "http.response.body", "body": read})

    async def receive() -> Any:
        return messages.pop(0)

    async def reply(message: Any) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": raw}
    asyncio.run(Edge(echo, limits={"": 100, "/api/v1/code/": 1000})(scope, receive, reply))
    return sent[0]["status"], sent[1]["body"], seen


def test_a_body_within_the_limit_goes_through() -> None:
    assert send([b"a" * 60, b"b" * 40])[:2] == (200, b"a" * 60 + b"b" * 40)


@pytest.mark.parametrize("headers", [{"content_length": "101"}, {}])
def test_a_body_over_the_limit_is_refused_whether_or_not_it_says_so(headers: dict[str, str]) -> None:
    status, body, _ = send([b"a" * 60, b"b" * 41], **headers)
    assert status == 413
    assert b"urn:penstock:problem:too-large" in body


def test_a_false_length_helps_nobody() -> None:
    assert send([b"a" * 101], content_length="5")[0] == 413
    assert send([b"a" * 101], content_length="-1")[0] == 413


def test_archives_may_be_larger() -> None:
    assert send([b"a" * 900], path="/api/v1/code/x")[0] == 200


def test_what_curl_calls_a_form_is_json_but_for_the_login() -> None:
    form = "application/x-www-form-urlencoded"
    assert send([b"{}"], content_type=form)[2]["headers"] == [(b"content-type", b"application/json")]
    assert send([b"{}"], path="/api/v1/login", content_type=form)[2]["headers"] == [(b"content-type", form.encode())]
    assert send([b"{}"], content_type="text/plain")[2]["headers"] == [(b"content-type", b"text/plain")]
