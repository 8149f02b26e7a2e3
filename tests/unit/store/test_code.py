from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.errors import InvalidInput, NotFound, Unavailable
from penstock.ids import digest_of
from penstock.store import code

DATA = b"tar" * 1000
DIGEST = digest_of(DATA)

FULL = """
import resource, sys
from pathlib import Path
from penstock.errors import StorageFull
from penstock.ids import digest_of
from penstock.store import code

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
data, directory = b"x" * 5000, Path(sys.argv[1])
try:
    code.keep(directory, digest_of(data), data)
except StorageFull as error:
    assert str(directory) in str(error)
    assert list(directory.iterdir()) == []
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    code.keep(directory, digest_of(data), data)
    print("full, then kept")
"""


def test_what_is_kept_can_be_read(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "code"
    assert code.keep(directory, DIGEST, DATA) == len(DATA)
    assert code.keep(directory, DIGEST, DATA) == len(DATA)
    assert code.read(directory, DIGEST) == DATA
    assert [path.name for path in directory.iterdir()] == [f"{DIGEST}.tar"]
    assert (directory / f"{DIGEST}.tar").stat().st_mode & 0o777 == 0o600


def test_other_data_than_the_digest_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="damaged on its way"):
        code.keep(tmp_path, DIGEST, DATA + b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "A" * 64, "a" * 63, f"{'a' * 64}\n", "/" * 64])
def test_only_a_digest_becomes_a_path(tmp_path: Path, digest: str) -> None:
    for use in (code.path, code.read, lambda directory, digest: code.keep(directory, digest, b"")):
        with pytest.raises(InvalidInput, match="no SHA-256"):
            use(tmp_path, digest)


def test_a_damaged_file_is_not_given_out_and_is_mended_by_keeping_it_again(tmp_path: Path) -> None:
    code.keep(tmp_path, DIGEST, DATA)
    code.path(tmp_path, DIGEST).write_bytes(DATA[:-1] + b"!")
    with pytest.raises(Unavailable, match="is damaged"):
        code.read(tmp_path, DIGEST)
    code.keep(tmp_path, DIGEST, DATA)
    assert code.read(tmp_path, DIGEST) == DATA


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        code.read(tmp_path, DIGEST)
    code.path(tmp_path, DIGEST).mkdir()
    with pytest.raises(Unavailable):
        code.read(tmp_path, DIGEST)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        code.keep(tmp_path, DIGEST, DATA)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="file/code"):
        code.keep(tmp_path / "file" / "code", DIGEST, DATA)


def test_no_room_is_told_and_passes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("full, then kept\n", "")
