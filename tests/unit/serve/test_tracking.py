"""Records on their way to a server that is a double: what goes wrong with one segment costs the others nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock.client.transport import Response
from penstock.errors import InvalidInput
from penstock.serve.recording import Recording
from penstock.serve.tracking import Tracker


class Server:
    """Takes what is told, or raises what it is to raise first."""

    def __init__(self, *raises: Exception) -> None:
        self._raises = list(raises)
        self.told: list[bytes] = []
        self.heard = threading.Event()

    def request(self, method: str, path: str, *, body: bytes, **_: Any) -> Response:
        if self._raises:
            raise self._raises.pop(0)
        self.told.append(body)
        self.heard.set()
        return Response(200, {}, b"{}")


def told(directory: Path, server: Server, meanwhile: Callable[[Tracker], None] = lambda _: None) -> None:
    """Start telling what lies there, and end when something was told."""
    plan = SimpleNamespace(
        deployment_id="d",
        deployment_name="d",
        revision=1,
        server="http://127.0.0.1:1",
        token="t",
        snapshot=SimpleNamespace(id="s"),
        settings=SimpleNamespace(flush_interval=0.01, spool_limit=1_000_000),
    )
    tracker = Tracker(cast(Any, plan), directory)
    tracker._transport = cast(Any, server)
    tracker.start()
    meanwhile(tracker)
    assert server.heard.wait(60)
    tracker.close(10)
    assert not any(one.is_alive() for one in tracker._threads)


def record(name: str) -> Recording:
    recording = Recording(name, name)
    recording.write("run_started", metadata={})
    recording.write("run_completed", values={})
    return recording


def test_a_segment_that_cannot_be_read_now_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "00000000000000000001-999999999.jsonl").write_bytes(b'{"id":"a"}\n')
    read, fails = Path.read_bytes, iter([OSError(24, "Too many open files")])

    def flaky(path: Path) -> bytes:
        for error in fails:
            raise error
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", flaky)
    server = Server()
    told(tmp_path, server)
    assert server.told == [b'{"runs":[{"id":"a"}]}']
    assert list(tmp_path.iterdir()) == []


def test_what_the_server_refuses_is_laid_aside_and_the_next_is_told(tmp_path: Path) -> None:
    (tmp_path / "00000000000000000001-999999999.jsonl").write_bytes(b"wrong\n")
    server = Server(InvalidInput("That is no record."))
    told(tmp_path, server, lambda tracker: tracker.add(record("b")))
    assert len(server.told) == 1
    assert b'"id":"b"' in server.told[0]
    assert [one.suffix for one in tmp_path.iterdir()] == [".refused"]
