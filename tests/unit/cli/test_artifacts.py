from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.ids import digest_of

RUN_ID = "01900000-0000-7000-8000-000000000001"


def artifact(name: str = "data.json", **fields: Any) -> dict[str, Any]:
    file = {"name": name, "digest": digest_of(b"[1]"), "size": 3}
    return {
        "id": "a1",
        "digest": "d",
        "files": [file],
        "size": 3,
        "type": "builtins.list",
        "materializer": "json",
        "run_id": RUN_ID,
        "step": "load",
        "output": "output",
        "created": "2025-01-01T00:00:00Z",
        **fields,
    }


def test_list_of_a_run_by_name(penstock: Any, server: Any, run_json: Any) -> None:
    server.on("GET", "/runs/train-1", run_json())
    server.on("GET", "/artifacts", {"items": [artifact(size=3_000_000)]})
    done = penstock("artifact", "list", "--run", "train-1", "--step", "load")
    assert "2.9 MiB" in done.stdout
    assert server.asked[-1].query == {"run_id": RUN_ID, "step": "load", "size": "20"}


def test_show(penstock: Any, server: Any) -> None:
    server.on("GET", "/artifacts/a1", artifact(metadata={"rows": 3}))
    shown = penstock("artifact", "show", "a1").stdout
    assert '{"rows": 3}' in shown
    assert "data.json  3 B" in shown


class TestDownload:
    def serve(self, server: Any, name: str = "data.json", **fields: Any) -> None:
        server.on("GET", "/artifacts/a1", artifact(name, **fields))
        server.on("GET", f"/artifacts/a1/files/{name}", b"[1]")

    def test_writes_and_names_the_files(self, penstock: Any, server: Any, tmp_path: Path) -> None:
        self.serve(server, "deep/data.json")
        done = penstock("artifact", "download", "a1", "--to", str(tmp_path / "new"))
        target = tmp_path / "new" / "deep" / "data.json"
        assert (done.stdout, target.read_bytes()) == (f"{target}\n", b"[1]")

    def test_does_not_replace_unless_told(self, penstock: Any, server: Any, tmp_path: Path) -> None:
        self.serve(server)
        (tmp_path / "data.json").write_text("mine")
        done = penstock("artifact", "download", "a1", "--to", str(tmp_path))
        assert (done.status, (tmp_path / "data.json").read_text()) == (1, "mine")
        assert "--force" in done.stderr
        assert penstock("artifact", "download", "a1", "--to", str(tmp_path), "--force").status == 0
        assert (tmp_path / "data.json").read_text() == "[1]"

    @pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out"])
    def test_stays_in_its_directory(self, penstock: Any, server: Any, tmp_path: Path, name: str) -> None:
        self.serve(server, name)
        done = penstock("artifact", "download", "a1", "--to", str(tmp_path / "in"))
        assert done.status == 1
        assert "leads out of" in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_warns_of_pickles(self, penstock: Any, server: Any, tmp_path: Path) -> None:
        self.serve(server, code_bearing=True)
        assert "pickle" in penstock("artifact", "download", "a1", "--to", str(tmp_path)).stderr

    def test_a_place_that_cannot_be_written(self, penstock: Any, server: Any, tmp_path: Path) -> None:
        self.serve(server)
        (tmp_path / "file").write_text("")
        done = penstock("artifact", "download", "a1", "--to", str(tmp_path / "file"))
        assert done.status == 1
        assert "cannot be written" in done.stderr

    def test_json(self, penstock: Any, server: Any, tmp_path: Path) -> None:
        self.serve(server)
        done = penstock("artifact", "download", "a1", "--to", str(tmp_path), "-o", "json")
        assert done.json == {"data.json": str(tmp_path / "data.json")}
