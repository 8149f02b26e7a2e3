"""A service under callers who are slow, who vanish, or who send anything at all."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.service_under_test import Service, begun
from tests.acceptance.site_under_test import PATIENCE, eventually

PIPELINE = """
import time
from typing import Literal

from penstock import pipeline, step


@step
def work(number: int, word: str, seconds: float) -> dict[str, str]:
    until = time.monotonic() + min(max(seconds, 0.0), 5.0)
    while time.monotonic() < until:
        time.sleep(0.01)
    return {"answer": word * (number % 3)}


async def echo(told: dict[str, str]) -> dict[str, str]:
    return told


brought = {"custom_endpoints": [{"path": "/echo", "method": "POST", "handler": echo}]}


@pipeline(settings={"deployment": {"patience": 1.0, "timeout": 10.0, **brought}})
def bounded(
    number: int, word: Literal["a", "b"] = "a", share: float | None = None, names: list[str] = [], seconds: float = 0.0
) -> dict[str, str]:
    return work(number, word, seconds)
"""
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "422", "503"]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = begun(tmp_path_factory.mktemp("project"), {"bounded.py": PIPELINE}, "bounded:bounded", "--no-reload")
    yield service
    assert service.stop() == 0


def answer_to(client: httpx.Client, sent: bytes) -> bytes:
    """What comes back, until the service ends the connection, if this is all that ever comes."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=PATIENCE) as caller:
        caller.sendall(sent)
        parts = []
        while data := caller.recv(65536):
            parts.append(data)
    return b"".join(parts)


SLOW = [
    b"",
    b"POST /invoke HTTP/1.1\r\nHost: x\r\nX-One: 1\r\n",
    b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
    b'POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"parameters": ',
    b"POST /submit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{    \r\n",
    b'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a": ',
]


def test_who_sends_too_slowly_is_told_and_let_go(service: Service) -> None:
    client = service.client
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(answer_to, client, sent) for sent in SLOW * 20]
        assert client.post("/invoke", json={"parameters": {"number": 2}}).status_code == 200
        assert client.post("/echo", json={"a": "b"}).json() == {"a": "b"}
        told = [one.result() for one in asked]
    for one in told:
        assert one.startswith(b"HTTP/1.1 408 "), one
        assert b"application/problem+json" in one
    assert client.get("/info").json()["open_requests"] == 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b"431"),
        (b"POST /invoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{", b"400"),
        (b"DELETE /invoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"405"),
    ],
)
def test_what_cannot_be_taken_is_refused(service: Service, sent: bytes, status: bytes) -> None:
    assert answer_to(service.client, sent).split(b" ")[1] == status


def test_callers_who_vanish_leave_nothing_behind(service: Service) -> None:
    client = service.client
    body = b'{"parameters": {"number": 1, "seconds": 5}}'
    whole = b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    stream = whole.replace(b"/invoke", b"/invoke/stream")

    def vanish(sent: bytes) -> None:
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as caller:
            caller.sendall(sent)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(vanish, [whole, whole[:-5], whole[:30], stream] * 10))
    eventually(lambda: client.get("/info").json()["open_requests"] == 0, what="the end of their work", patience=4)
    assert client.post("/invoke", json={"parameters": {"number": 2}}).json()["outputs"] == {"output": {"answer": "aa"}}


def test_it_is_what_its_description_says(service: Service, tmp_path: Path) -> None:
    """By a tool that knows nothing of it; a failing run prints how to repeat it."""
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)]
    command += ["run", f"{service.client.base_url}/openapi.json", "--checks", "all", "--phases", "fuzzing,stateful"]
    command += ["--max-examples", "15", "--request-timeout", "20", "--suppress-health-check", "all", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
    assert "Traceback (most" not in service.said
    told: Any = service.client.post("/invoke", json={"parameters": {"number": 1}}).json()
    assert told["outputs"] == {"output": {"answer": "a"}}
