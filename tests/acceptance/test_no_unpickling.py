"""The server never runs what users keep: not by its code, and not by what it does with a pickle."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from penstock.ids import new_id
from tests.acceptance.site_under_test import Site

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "penstock"
ROOMS = ("server", "control", "store", "model", "stack")
LOADERS = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
    "torch",
    "skops",
    "numpy",
}
SERVED = "import sys; from penstock.server.__main__ import main; print(*sys.modules)"


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_of_the_server_imports_what_unpickles(room: str) -> None:
    files = list((PACKAGE / room).rglob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {name.partition(".")[0] for name in names}
            assert not roots & LOADERS, file
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "__import__"), file


def test_a_server_has_loaded_neither_users_rooms_nor_materializers() -> None:
    done = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "penstock.server.app" in loaded
    rooms = {name.split(".")[1] for name in loaded if name.startswith("penstock.") and name.count(".") > 1}
    assert not rooms & {"author", "runtime"}
    assert not loaded & {"cloudpickle", "dill", "joblib", "numpy", "pandas", "torch"}


class Bomb:
    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.canary}",)


def test_a_pickle_is_only_bytes_to_it(site: Site, tmp_path: Path) -> None:
    canary = tmp_path / "fired"
    data = pickle.dumps(Bomb(str(canary)))
    store = Path(site.get("/stacks/default")["components"]["artifact_store"]["options"]["path"])
    digest = sha256(data).hexdigest()
    blob = store / "sha256" / digest[:2] / digest[2:]
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    for number, (materializer, type_) in enumerate((("pickle", "m.Bomb"), ("json", "int"), ("numpy", "numpy.ndarray"))):
        record = {
            "id": new_id(),
            "digest": digest,
            "files": [{"name": "value.pkl", "digest": digest, "size": len(data)}],
            "size": len(data),
            "type": type_,
            "materializer": materializer,
            "code_bearing": materializer == "pickle",
            "name": f"bomb-{number}",
            "metadata": {"preview": "\u0080\u0004cos\nsystem\n"},
            "created": "2026-01-01T00:00:00Z",
        }
        site.post("/artifacts", record, 201)
        reference = f"/artifacts/bomb-{number}"
        site.get(reference)
        site.get(f"{reference}/lineage")
        answer = site.api.get(f"{reference}/files/value.pkl")
        assert answer.content == data
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-security-policy"] == "sandbox"
        site.api.patch(reference, json={"user_metadata": {"a": 1}})
    site.get("/artifacts")
    site.post("/artifacts/prune", {"dry_run": True})
    assert not canary.exists()
    for kind in ("application/x-pickle", "application/octet-stream"):
        site.api.post("/runs", content=data, headers={"Content-Type": kind})
    assert not canary.exists()


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "a//b", "", ".", "a\0b"])
def test_no_artifact_has_a_file_whose_name_leads_elsewhere(site: Site, name: str) -> None:
    digest = sha256(b"").hexdigest()
    record = {
        "id": new_id(),
        "digest": digest,
        "files": [{"name": name, "digest": digest, "size": 0}],
        "size": 0,
        "type": "bytes",
        "materializer": "bytes",
        "created": "2026-01-01T00:00:00Z",
    }
    answer = site.api.post("/artifacts", content=json.dumps(record))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/files/0"
