from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from penstock.client.client import Client
from penstock.errors import CodeMissing
from penstock.model.snapshot import Content, Environment

CODE = "c" * 64
CONTENT = Content(pipeline="train", source="m:train", code=CODE, environment=Environment(python="3.11"))
SNAPSHOT = {
    "id": "01900000-0000-8000-8000-000000000001",
    "pipeline_id": "p1",
    "content": msgspec.to_builtins(CONTENT),
    "created": "2025-01-01T00:00:00Z",
}


class TestCreate:
    def test_known_code_is_not_packed(self, client: Client, transport: Any) -> None:
        transport.script = [SNAPSHOT]

        def archive() -> bytes:
            raise AssertionError("packed for nothing")

        assert client.snapshots.create(CONTENT, name="prod", archive=archive).content == CONTENT
        assert transport.last.json == {"content": msgspec.json.decode(msgspec.json.encode(CONTENT)), "name": "prod"}

    def test_missing_code_is_uploaded_and_the_request_repeated(self, client: Client, transport: Any) -> None:
        transport.script = [CodeMissing("upload it"), {}, SNAPSHOT]
        assert client.snapshots.create(CONTENT, archive=lambda: b"tar").content.code == CODE
        first, upload, second = transport.asked
        assert (upload.method, upload.path, upload.body) == ("PUT", f"/code/{CODE}", b"tar")
        assert upload.headers == {"Content-Type": "application/x-tar"}
        assert first == second

    def test_missing_code_that_nobody_has(self, client: Client, transport: Any) -> None:
        transport.script = [CodeMissing("upload it")]
        with pytest.raises(CodeMissing):
            client.snapshots.create(CONTENT)
        assert len(transport.asked) == 1

    def test_only_once(self, client: Client, transport: Any) -> None:
        transport.script = [CodeMissing("upload it"), {}, CodeMissing("still")]
        with pytest.raises(CodeMissing, match="still"):
            client.snapshots.create(CONTENT, archive=lambda: b"tar")


def test_get_by_name_of_a_pipeline(client: Client, transport: Any) -> None:
    transport.script = [SNAPSHOT]
    client.snapshots.get("prod", pipeline="train")
    assert (transport.last.path, transport.last.query) == ("/pipeline_snapshots/prod", {"pipeline": "train"})


def test_list(client: Client, transport: Any) -> None:
    transport.script = [{"items": [SNAPSHOT]}]
    assert len(client.snapshots.list(pipeline="train", size=5)) == 1
    assert transport.last.query == {"pipeline": "train", "size": 5}


class TestRun:
    def test_is_one_request(self, client: Client, transport: Any, run_json: Callable[..., dict[str, Any]]) -> None:
        transport.script = [run_json()]
        client.snapshots.run("prod", parameters={"a": 1})
        assert [one.json for one in transport.asked] == [{"snapshot_id": "prod", "parameters": {"a": 1}}]

    def test_by_the_name_of_a_pipeline(
        self, client: Client, transport: Any, run_json: Callable[..., dict[str, Any]]
    ) -> None:
        transport.script = [SNAPSHOT, run_json()]
        client.snapshots.run("prod", pipeline="train")
        assert transport.asked[0].query == {"pipeline": "train"}
        assert transport.last.json == {"snapshot_id": SNAPSHOT["id"]}
