from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.errors import InvalidInput, StorageFull, Unavailable
from penstock.ids import digest_of
from penstock.stack.flavors.file_store import FileStore


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(InvalidInput, match="absolute"):
        FileStore("artifacts")


def test_the_layout_is_the_digest(tmp_path: Path) -> None:
    digest, _ = FileStore(tmp_path).put(b"data")
    assert (tmp_path / "sha256" / digest[:2] / digest[2:]).read_bytes() == b"data"
    assert list((tmp_path / "unfinished").iterdir()) == []


def test_making_a_store_makes_no_folder(tmp_path: Path) -> None:
    FileStore(tmp_path / "later")
    assert list(tmp_path.iterdir()) == []


def test_foreign_files_are_no_blobs(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    digest, _ = store.put(b"data")
    (tmp_path / "sha256" / digest[:2] / "README").write_text("not a blob")
    (tmp_path / "sha256" / "stray").write_text("not a folder")
    assert list(store.digests()) == [digest]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("as_file", [True, False])
def test_no_room_is_storage_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, as_file: bool) -> None:
    store = FileStore(tmp_path / "store")
    source = tmp_path / "source"
    source.write_bytes(b"data")

    def full(descriptor: int, data: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageFull, match="no room"):
        store.put(source if as_file else b"data")
    monkeypatch.undo()
    assert list(store.digests()) == []
    assert list((tmp_path / "store" / "unfinished").iterdir()) == []


def test_a_limit_on_file_size_is_storage_full(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from penstock.errors import StorageFull\n"
        "from penstock.stack.flavors.file_store import FileStore\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    FileStore(sys.argv[1]).put(bytes(5000))\n"
        "except StorageFull:\n    sys.exit(7)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)  # the child has its own
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, check=False).returncode == 7
    assert list(FileStore(tmp_path).digests()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO])
def test_a_store_that_cannot_be_used_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(path: Path, flags: int, mode: int) -> int:
        raise OSError(number, os.strerror(number), str(path))

    store = FileStore(tmp_path)
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(Unavailable, match=str(tmp_path)):
        store.put(b"data")


def test_a_file_in_the_place_of_the_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    store = FileStore(tmp_path / "store")
    with pytest.raises(Unavailable, match="store"):
        store.put(b"data")
    assert list(store.digests()) == []


def test_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    digest, _ = store.put(b"data")
    with pytest.raises(Unavailable):
        store.fetch(digest, tmp_path / "no folder" / "target")
    assert [one.name for one in tmp_path.iterdir()] == ["store"]


def test_what_killed_writers_left_goes_after_a_day(tmp_path: Path) -> None:
    FileStore(tmp_path).put(b"data")
    old, new = tmp_path / "unfinished" / "old", tmp_path / "unfinished" / "new"
    old.write_bytes(b"ha")
    new.write_bytes(b"ha")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    assert list(FileStore(tmp_path).digests()) == [digest_of(b"data")]
    assert not old.exists()
    assert new.exists()
