from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.client.client import Client
from penstock.errors import ArtifactError, NotFound
from penstock.ids import digest_of

ARTIFACT = {
    "id": "a1",
    "digest": "d",
    "files": [{"name": "data.json", "digest": digest_of(b"[1]"), "size": 3}],
    "size": 3,
    "type": "builtins.list",
    "materializer": "json",
    "created": "2025-01-01T00:00:00Z",
}


def test_list(client: Client, transport: Any) -> None:
    transport.script = [{"items": [ARTIFACT]}]
    assert [one.type for one in client.artifacts.list(run_id="r", step="load")] == ["builtins.list"]
    assert transport.last.query == {"run_id": "r", "step": "load", "size": 20}


class TestRead:
    def test_the_bytes(self, client: Client, transport: Any) -> None:
        transport.script = [ARTIFACT, b"[1]"]
        assert client.artifacts.read(client.artifacts.get("a1"), "data.json") == b"[1]"
        assert transport.last.path == "/artifacts/a1/files/data.json"

    def test_other_bytes_than_were_saved(self, client: Client, transport: Any) -> None:
        transport.script = [ARTIFACT, b"[2]"]
        with pytest.raises(ArtifactError, match="damaged"):
            client.artifacts.read(client.artifacts.get("a1"), "data.json")

    def test_an_unknown_file_names_the_known_ones(self, client: Client, transport: Any) -> None:
        transport.script = [ARTIFACT]
        with pytest.raises(NotFound, match=r"Did you mean 'data\.json'"):
            client.artifacts.read(client.artifacts.get("a1"), "data.jsn")
        assert len(transport.asked) == 1


class TestDownload:
    def test_the_file_is_there_and_nothing_else(self, client: Client, transport: Any, tmp_path: Path) -> None:
        transport.script = [ARTIFACT, b"[1]"]
        (tmp_path / "here").write_bytes(b"old")
        client.artifacts.download(client.artifacts.get("a1"), "data.json", tmp_path / "here")
        assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"here": b"[1]"}
        assert transport.last.path == "/artifacts/a1/files/data.json"

    def test_other_bytes_than_were_saved_never_appear(self, client: Client, transport: Any, tmp_path: Path) -> None:
        transport.script = [ARTIFACT, b"[2]"]
        (tmp_path / "here").write_bytes(b"old")
        with pytest.raises(ArtifactError, match="damaged"):
            client.artifacts.download(client.artifacts.get("a1"), "data.json", tmp_path / "here")
        assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"here": b"old"}

    def test_an_unknown_file_is_not_asked_for(self, client: Client, transport: Any, tmp_path: Path) -> None:
        transport.script = [ARTIFACT]
        with pytest.raises(NotFound, match=r"Did you mean 'data\.json'"):
            client.artifacts.download(client.artifacts.get("a1"), "data.jsn", tmp_path / "here")
        assert len(transport.asked) == 1
