from __future__ import annotations

import dataclasses
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from penstock.errors import ArtifactError, NotFound, StorageFull
from penstock.ids import is_id
from penstock.model.artifact import artifact_digest
from penstock.runtime import materializers
from penstock.runtime.materializers import load, save


class Canary:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was loaded without leave",))


def test_the_record_says_everything(shelf: Any) -> None:
    artifact = save({"a": 1}, shelf.store, id="0" * 8, run_id="run", step="train", output="metrics")
    assert (artifact.id, artifact.run_id, artifact.step, artifact.output) == ("0" * 8, "run", "train", "metrics")
    assert artifact.type == "builtins.dict"
    assert artifact.size == artifact.files[0].size == len('{"a":1}')
    assert artifact.digest == artifact.files[0].digest == artifact_digest(artifact.files)
    assert shelf.store.get(artifact.digest) == b'{"a":1}'
    assert artifact.metadata == {"length": 1, "preview": '{"a":1}'}
    assert artifact.created.tzinfo is not None


def test_equal_values_have_equal_digests(shelf: Any) -> None:
    for make in (lambda: {"a": {1, 2}}, lambda: np.arange(5), lambda: pd.DataFrame({"a": ["x"]}), lambda: "text"):
        one, other = shelf.save(make()), shelf.save(make())
        assert one.digest == other.digest
        assert one.id != other.id
        assert is_id(one.id)


def test_every_load_gives_a_new_value(shelf: Any) -> None:
    artifact = shelf.save({"a": [1]})
    shelf.load(artifact)["a"].append(2)
    assert shelf.load(artifact) == {"a": [1]}


def test_no_pickle_is_loaded_without_leave_whatever_the_record_says(shelf: Any) -> None:
    artifact = shelf.save(Canary())
    assert artifact.code_bearing
    for lie in (
        artifact,
        dataclasses.replace(artifact, code_bearing=False),
        dataclasses.replace(artifact, materializer="sklearn"),
    ):
        with pytest.raises(ArtifactError, match="PENSTOCK_ALLOW_PICKLE"):
            load(lie, shelf.store, allow_code=False)


@pytest.mark.parametrize("materializer", ["structured", "text", "numpy", "pandas", "path", "binary"])
def test_a_pickle_under_a_false_name_is_never_unpickled(shelf: Any, materializer: str) -> None:
    artifact = shelf.save(Canary())
    names = {"structured": "value.json", "text": "value.txt", "numpy": "array.npy", "binary": "value.bin"}
    file = dataclasses.replace(artifact.files[0], name=names.get(materializer, "frame.json"))
    lie = dataclasses.replace(artifact, code_bearing=False, materializer=materializer, files=(file,))
    try:
        value = load(lie, shelf.store, allow_code=False)
    except ArtifactError:
        return
    assert isinstance(value, bytes | str | Path)


def test_what_was_marked_code_bearing_stays_so(shelf: Any) -> None:
    artifact = dataclasses.replace(shelf.save({"a": 1}), code_bearing=True)
    with pytest.raises(ArtifactError, match="PENSTOCK_ALLOW_PICKLE"):
        shelf.load(artifact)


def test_a_record_that_does_not_fit_its_files_is_refused(shelf: Any) -> None:
    artifact, other = shelf.save({"a": 1}), shelf.save({"a": 2})
    with pytest.raises(ArtifactError, match="changed after it was written"):
        shelf.load(dataclasses.replace(artifact, files=other.files))


def test_an_unknown_materializer_says_what_to_install(shelf: Any) -> None:
    with pytest.raises(ArtifactError, match="'xarray', which is not known here"):
        shelf.load(dataclasses.replace(shelf.save(1), materializer="xarray"))


def test_a_lost_blob_is_not_found(shelf: Any, tmp_path: Path) -> None:
    artifact = shelf.save({"a": 1})
    (tmp_path / "store" / "sha256" / artifact.digest[:2] / artifact.digest[2:]).unlink()
    with pytest.raises(NotFound, match=artifact.digest):
        shelf.load(artifact)


def test_a_damaged_blob_is_an_error_that_names_the_artifact(shelf: Any, tmp_path: Path) -> None:
    artifact = shelf.save(np.zeros(500_000))
    blob = tmp_path / "store" / "sha256" / artifact.digest[:2] / artifact.digest[2:]
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(3_000_000)
        file.write(b"\1")
    with pytest.raises(ArtifactError, match=f"{artifact.id}.*{artifact.digest}"):
        shelf.load(artifact)


def test_a_full_store_stays_a_full_store(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageFull):
        shelf.save({"a": 1})


def test_no_temporary_files_stay(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    big = np.random.default_rng(0).normal(size=300_000)
    for value in (big, pd.DataFrame({"a": big}), Canary):
        shelf.load(shelf.save(value), allow_code=True)
    with pytest.raises(ArtifactError):
        shelf.save(threading.Lock())
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    "metadata",
    [
        {"preview": "\0\ud800"},
        {"n": 2**200, "f": float("nan"), "i": float("inf"), 3: object()},
        {"big": "x" * 100_000},
        {str(number): "y" * 1000 for number in range(500)},
        {"deep": [[[[[[[[1]]]]]]]]},
        {"long": list(range(100_000))},
        {"bad": type("Bad", (), {"__repr__": lambda self: 1 / 0})()},
        None,
    ],
    ids=range(8),
)
def test_facts_are_json_and_small_whatever_a_materializer_says(shelf: Any, metadata: Any) -> None:
    @materializers.register
    class Careless(materializers.Materializer):
        name = "careless"

        def handles(self, kind: type) -> bool:
            return kind is Canary

        def save(self, value: Any, sink: materializers.Sink) -> Any:
            sink.write("file", b"data")
            return metadata

        def load(self, files: materializers.Files, type_hint: Any) -> Any:
            return files.read("file")

    try:
        artifact = shelf.save(Canary())
        text = json.dumps(artifact.metadata, allow_nan=False)
        assert len(text.encode()) <= 2 * 8192  # ASCII escapes count here
        assert "\\u0000" not in text
        assert "\\ud800" not in text
        assert shelf.load(artifact) == b"data"
    finally:
        forget("careless")


def forget(name: str) -> None:
    from penstock.runtime.materializers import registry

    registry._registered.pop(name)
    registry._for_kind.cache_clear()
