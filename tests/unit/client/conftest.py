"""A double of the transport: answers from a script, keeps what was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from penstock.client.client import Client
from penstock.client.transport import Response, Transport


@dataclass
class Asked:
    """One request as it would go over the wire."""

    method: str
    path: str
    query: dict[str, Any]
    json: Any
    body: bytes | None
    headers: dict[str, str]


@dataclass
class FakeTransport:
    """Each call takes the next answer of the script: a JSON value, bytes, or an error to raise; the last one stays.

    `streams` is the same for event streams: the lines of one, or an error.
    """

    address: str = "unix:/nowhere"
    script: list[Any] = field(default_factory=list)
    streams: list[Any] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    closed: int = 0

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        sent = msgspec.json.decode(msgspec.json.encode(json))
        self.asked.append(Asked(method, path, _given(query), sent, body, dict(headers or {})))
        answer = _next(self.script)
        if isinstance(answer, Exception):
            raise answer
        return Response(200, {}, answer if isinstance(answer, bytes) else msgspec.json.encode(answer))

    def stream(
        self, path: str, *, query: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[bytes]:
        self.asked.append(Asked("STREAM", path, _given(query), None, None, dict(headers or {})))
        answer = _next(self.streams)
        if isinstance(answer, Exception):
            raise answer
        yield from answer

    def blocks(self, path: str) -> Iterator[bytes]:
        yield self.request("GET", path).body

    def close(self) -> None:
        self.closed += 1

    @property
    def last(self) -> Asked:
        return self.asked[-1]


def _next(script: list[Any]) -> Any:
    return script.pop(0) if len(script) > 1 else script[0]


def _given(query: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (query or {}).items() if value is not None}


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def client(transport: FakeTransport) -> Client:
    return Client(transport=cast("Transport", transport))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every pause that the client makes, in seconds; time passes by them at once, and by nothing else."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    monkeypatch.setattr("time.monotonic", lambda: 1000.0 + sum(made))
    return made


@pytest.fixture
def run_json() -> Callable[..., dict[str, Any]]:
    """A run as the server tells it."""

    def make(state: str = "queued", **fields: Any) -> dict[str, Any]:
        return {
            "id": "01900000-0000-7000-8000-000000000001",
            "name": "train-1",
            "state": state,
            "pipeline_id": "p1",
            "pipeline_name": "train",
            "snapshot_id": "s1",
            "created": "2025-01-01T00:00:00Z",
            "a_field_of_a_newer_server": 1,
            **fields,
        }

    return make
