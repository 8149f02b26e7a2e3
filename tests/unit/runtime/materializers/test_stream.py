from __future__ import annotations

import gc
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.errors import ArtifactError
from penstock.model.artifact import Artifact
from penstock.runtime import materializers
from penstock.runtime.materializers.stream import Stream
from penstock.stack.flavors.file_store import FileStore


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def save(value: Any, store: FileStore) -> Artifact:
    return materializers.save(value, store, id="a", run_id=None, step="s", output="o")


def load(artifact: Artifact, store: FileStore, hint: Any = None) -> Any:
    return materializers.load(artifact, store, type_hint=hint, allow_code=False)


def test_items_come_back_equal_and_as_often_as_wanted(store: FileStore) -> None:
    items = [1, "two", (3, 4), {"five": [6.5, None]}, {7}, float("inf")]
    artifact = save((item for item in items), store)
    assert (artifact.materializer, artifact.code_bearing) == ("stream", False)
    assert artifact.metadata["length"] == 6
    assert artifact.metadata["head"][:2] == [1, "two"]
    stream = load(artifact, store)
    assert isinstance(stream, Stream)
    assert len(stream) == 6
    assert list(stream) == list(stream) == items
    assert load(artifact, store, list[Any]) == items


def test_nothing_is_a_stream_too(store: FileStore) -> None:
    stream = load(save((x for x in ()), store), store)
    assert (len(stream), list(stream)) == (0, [])


def test_arrays_are_parts(store: FileStore) -> None:
    stream = load(save((np.full(3, number) for number in range(3)), store), store)
    assert [array.tolist() for array in stream] == [[0] * 3, [1] * 3, [2] * 3]


def test_big_parts_leave_no_files_behind(store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    stream = load(save((np.full(200_000, float(number)) for number in range(3)), store), store)
    assert [array[0] for array in stream] == [0.0, 1.0, 2.0]
    assert list(folder.iterdir()) == [stream._items.parent]


def test_a_stream_can_be_kept_again(store: FileStore) -> None:
    first = save((number for number in range(5)), store)
    assert save(load(first, store), store).digest == first.digest


def test_three_hundred_thousand_items_take_no_memory(store: FileStore) -> None:
    tracemalloc.start()
    try:
        artifact = save((number for number in range(300_000)), store)
        assert sum(load(artifact, store)) == 44_999_850_000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_generator_that_raises_leaves_nothing(store: FileStore) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("half way")

    with pytest.raises(ArtifactError, match="half way"):
        save(broken(), store)
    assert list(store.digests()) == []


def test_what_only_pickle_could_keep_is_refused_by_its_place(store: FileStore) -> None:
    with pytest.raises(ArtifactError, match=r"item 1 is a builtins\.object"):
        save((item for item in [1, object()]), store)


def test_damage_is_told(store: FileStore) -> None:
    artifact = save((number for number in range(5)), store)
    items = next(file for file in artifact.files if file.name == "items.jsonl")
    blob = store._path(items.digest)
    blob.unlink()
    blob.write_bytes(b"1\n2\n3\n4\n5\n")
    with pytest.raises(ArtifactError, match="damaged"):
        load(artifact, store)


def test_the_local_copy_goes_with_the_stream(store: FileStore) -> None:
    stream = load(save((number for number in range(5)), store), store)
    folder = stream._items.parent
    assert folder.is_dir()
    del stream
    gc.collect()
    assert not folder.exists()
