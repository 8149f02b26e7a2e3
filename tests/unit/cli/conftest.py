"""A server that says what a test tells it to, at the door of the test's own home; and the command line in front of it."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pytest
from typer.testing import CliRunner

from penstock.cli.main import app
from penstock.errors import PenstockError
from penstock.model.launch import socket_path


@dataclass
class Asked:
    """One request that came over the socket."""

    method: str
    path: str
    query: dict[str, str]
    json: Any
    headers: dict[str, str]


@dataclass
class StubServer:
    """Answers by method and path; of several answers for one address each is given once, and the last one stays."""

    answers: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)
    """Set when the test ends: a stream that goes on for ever waits for it."""

    def on(self, method: str, path: str, *answers: Any) -> None:
        """Answer with JSON values, bytes, errors of ours, or an iterator of lines for an event stream."""
        self.answers[method, path] = list(answers)

    def answer(self, asked: Asked) -> Any:
        self.asked.append(asked)
        known = self.answers.get((asked.method, asked.path))
        if known is None:
            return PenstockError(f"The test has no answer for {asked.method} {asked.path}.")
        return known.pop(0) if len(known) > 1 else known[0]

    def bodies(self, method: str, path: str) -> list[Any]:
        return [one.json for one in self.asked if (one.method, one.path) == (method, path)]


def _handler(stub: StubServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            path = unquote(url.path).removeprefix("/api/v1")
            asked = Asked(
                self.command, path, dict(parse_qsl(url.query)), msgspec.json.decode(body) if body else None, headers
            )
            answer = stub.answer(asked)
            if isinstance(answer, Iterator):
                self._stream(answer)
            elif isinstance(answer, PenstockError):
                self._whole(answer.status, msgspec.json.encode(answer.problem()))
            else:
                self._whole(200, answer if isinstance(answer, bytes) else msgspec.json.encode(answer))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815  (the library's names)

        def _whole(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, lines: Iterator[bytes]) -> None:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            for line in lines:
                self.wfile.write(line + b"\n")
                self.wfile.flush()
            self.close_connection = True

        def address_string(self) -> str:
            return "socket"

        def log_message(self, *_: Any) -> None:
            """The test asks the stub instead."""

    return Handler


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A command that is interrupted leaves without a farewell; what else goes wrong, the command shows."""


@pytest.fixture
def server(home: Path) -> Iterator[StubServer]:
    """A server of the test's home, already running."""
    stub = StubServer()
    with _UnixServer(str(socket_path(home, "server.sock")), _handler(stub)) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stub
        finally:
            stub.silent.set()
            served.shutdown()
            thread.join()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.stdout)


@pytest.fixture
def penstock() -> Callable[..., Ended]:
    """Run a command in this process, as from a pipe."""

    def run(*arguments: str, stdin: str | None = None) -> Ended:
        done = CliRunner().invoke(app, arguments, input=stdin, prog_name="penstock")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ended(done.exit_code, done.stdout, done.stderr)

    return run


AT = "2025-01-01T00:00:00Z"
RUN_ID = "01900000-0000-7000-8000-000000000001"
SNAPSHOT_ID = "01900000-0000-8000-8000-000000000002"


@pytest.fixture
def run_json() -> Callable[..., dict[str, Any]]:
    """A run as the server tells it."""

    def make(state: str = "completed", **fields: Any) -> dict[str, Any]:
        return {
            "id": RUN_ID,
            "name": "train-1",
            "state": state,
            "pipeline_id": "p1",
            "pipeline_name": "train",
            "snapshot_id": SNAPSHOT_ID,
            "created": AT,
            "started": AT,
            "ended": "2025-01-01T00:00:02Z",
            **fields,
        }

    return make


@pytest.fixture
def snapshot_json() -> dict[str, Any]:
    """A snapshot of a pipeline with parameters of several kinds."""
    parameters = {"lr": {"type": "number", "default": 0.1}, "name": {"type": "string"}}
    invocation = {
        "id": "fit",
        "step": "fit",
        "source": "m:fit",
        "schema": {"type": "object", "properties": {"depth": {"type": "integer"}}},
    }
    return {
        "id": SNAPSHOT_ID,
        "pipeline_id": "p1",
        "content": {
            "pipeline": "train",
            "source": "m:train",
            "code": "c" * 64,
            "graph": {"invocations": [invocation]},
            "parameter_schema": {"type": "object", "properties": parameters, "required": ["name"]},
            "environment": {"python": "3.11"},
        },
        "names": ["prod"],
        "created": AT,
    }


@pytest.fixture
def template_json() -> dict[str, Any]:
    """A run template with two versions."""
    return {
        "id": "01900000-0000-7000-8000-000000000003",
        "name": "daily",
        "pipeline_id": "p1",
        "pipeline_name": "train",
        "versions": [
            {"version": 1, "snapshot_id": "01900000-0000-8000-8000-000000000009", "created": AT},
            {"version": 2, "snapshot_id": SNAPSHOT_ID, "created": AT},
        ],
        "created": AT,
    }


@pytest.fixture
def told() -> Callable[..., Iterator[bytes]]:
    """The event stream of a run: `(type, step, data)` in order, and that there is no more."""

    def make(*entries: tuple[str, str | None, dict[str, Any]]) -> Iterator[bytes]:
        for number, (kind, step, data) in enumerate(entries, 1):
            at = f"2025-01-01T00:00:{number:02}Z"
            entry = {"number": number, "at": at, "type": kind, "step": step, "data": data}
            yield from (b"data: " + msgspec.json.encode(entry), b"")
        yield from (b"event: end", b"data: {}", b"")

    return make
