from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.author import archive as archiving
from penstock.author.archive import Packed, Skipped, pack, unpack
from penstock.author.ignoring import Ignoring
from penstock.errors import AuthoringError, InvalidInput
from penstock.ids import digest_of
from penstock.model import archive as holding
from penstock.model.archive import portable, twins


def _plain(name: str) -> bool:
    special = (*archiving._SECRET_STARTS, "pyvenv.cfg", ".gitignore", ".penstockignore")
    kept_out = Ignoring().ignores(name, directory=False) or name.endswith(archiving._SECRET_ENDS)
    return portable(name) and not kept_out and not name.startswith(special)


characters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/")
names = st.text(characters, min_size=1, max_size=12).filter(_plain)
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=4).map("/".join), st.tuples(st.binary(max_size=300), st.booleans()), max_size=8
)


def write(root: Path, tree: dict[str, tuple[bytes, bool]]) -> None:
    for name, (data, executable) in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if executable else 0o644)


def read(root: Path) -> dict[str, tuple[bytes, bool]]:
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
        for path in root.rglob("*")
        if path.is_file()
    }


@given(trees, st.randoms())
def test_round_trip_and_determinism(tree: dict[str, tuple[bytes, bool]], shuffle: random.Random) -> None:
    paths = {part for name in tree for part in _prefixes(name)}
    assume(len({path.casefold() for path in paths}) == len(paths))
    assume(twins(tree) is None)
    assume(not any(other.startswith(f"{name}/") for name in tree for other in tree))
    with TemporaryDirectory() as place:
        one, two, back = (Path(place, name) for name in ("one", "two", "back"))
        one.mkdir()
        two.mkdir()
        write(one, tree)
        other = list(tree.items())
        shuffle.shuffle(other)
        write(two, dict(other))
        first, second = pack(one), pack(two)
        assert (first.digest, first.tar()) == (second.digest, second.tar())
        assert first.digest == hashlib.sha256(first.tar()).hexdigest()
        assert {file.path: file.size for file in first.files} == {name: len(data) for name, (data, _) in tree.items()}
        unpack(first.tar(), back, first.digest)
        assert read(back) == tree
        assert pack(back).digest == first.digest


def _prefixes(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[: length + 1]) for length in range(len(parts))]


class TestPack:
    def test_times_owners_and_rights_make_no_difference(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text("1")
        (tmp_path / "run.sh").write_text("2")
        (tmp_path / "run.sh").chmod(0o700)
        before = pack(tmp_path)
        os.utime(tmp_path / "a.py", (1, 1))
        (tmp_path / "a.py").chmod(0o600)
        (tmp_path / "run.sh").chmod(0o777)
        (tmp_path / "empty").mkdir()
        assert pack(tmp_path) == before
        with tarfile.open(fileobj=io.BytesIO(before.tar())) as tar:
            found = [(one.name, one.mode, one.uid, one.gid, one.uname, one.mtime) for one in tar]
        assert found == [("a.py", 0o644, 0, 0, "", 0), ("run.sh", 0o755, 0, 0, "", 0)]

    def test_content_names_and_executability_do(self, tmp_path: Path) -> None:
        file = tmp_path / "a.py"
        file.write_text("1")
        digests = {pack(tmp_path).digest}
        file.chmod(0o755)
        digests.add(pack(tmp_path).digest)
        file.write_text("2")
        digests.add(pack(tmp_path).digest)
        file.rename(tmp_path / "b.py")
        digests.add(pack(tmp_path).digest)
        assert len(digests) == 4

    def test_the_digest_is_the_same_for_ever(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            {"a.py": (b"print(1)\n", False), "b/" + "long" * 40 + ".txt": ("ü".encode(), True), "ü.txt": (b"", False)},
        )
        assert pack(tmp_path).digest == "ffd5df21bc8f017a9ed6c70c63107d650800f71b726e8850440b5a31b00af911"

    def test_it_does_not_depend_on_the_locale(self, tmp_path: Path) -> None:
        write(tmp_path, {"ü.py": (b"1", False), "z.py": (b"", False), "Z.txt": (b"", False)})
        code = f"from pathlib import Path; from penstock.author.archive import pack; print(pack(Path({str(tmp_path)!r})).digest)"
        digests = {
            subprocess.run(
                [sys.executable, "-c", code], env={**os.environ, **extra}, check=True, capture_output=True, text=True
            ).stdout.strip()
            for extra in ({"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}, {"PYTHONHASHSEED": "7"})
        }
        assert digests == {pack(tmp_path).digest}

    def test_files_are_listed_in_order(self, tmp_path: Path) -> None:
        write(tmp_path, {"b.py": (b"12", False), "a/z.py": (b"1", False), "a.py": (b"", False)})
        assert pack(tmp_path).files == (Packed("a.py", 0), Packed("a/z.py", 1), Packed("b.py", 2))

    def test_links_and_special_files_stay_and_are_told(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        root = tmp_path / "root"
        write(tmp_path, {"outside/secret.txt": (b"hush", False), "root/a.py": (b"", False)})
        (root / "link.txt").symlink_to(outside / "secret.txt")
        (root / "folder").symlink_to(outside)
        (root / "dangling").symlink_to("nowhere")
        os.mkfifo(root / "pipe")
        archive = pack(root)
        assert archive.skipped == (
            Skipped("dangling", "symbolic link"),
            Skipped("folder", "symbolic link"),
            Skipped("link.txt", "symbolic link"),
            Skipped("pipe", "special file"),
        )
        assert [file.path for file in archive.files] == ["a.py"]
        assert b"hush" not in archive.tar()

    @pytest.mark.parametrize(
        "name", [".env", ".env.local", "sub/server.pem", "tls.key", ".ssh/id_rsa", "id_ed25519.pub"]
    )
    def test_credentials_stay_and_are_told_whatever_ignore_files_say(self, tmp_path: Path, name: str) -> None:
        write(tmp_path, {"a.py": (b"", False), name: (b"hush", False), ".penstockignore": (b"!*\n", False)})
        archive = pack(tmp_path)
        assert archive.skipped == (Skipped(name, "may hold secrets"),)
        assert b"hush" not in archive.tar()

    @pytest.mark.parametrize("name", [b"a\\b.py", b"a\nb.py", b"\xff.py", b"a\x7f"])
    def test_names_that_mean_something_else_elsewhere_stay_and_are_told(self, tmp_path: Path, name: bytes) -> None:
        (tmp_path / "a.py").touch()
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
        archive = pack(tmp_path)
        assert [file.path for file in archive.files] == ["a.py"]
        assert [one.reason for one in archive.skipped] == ["name is not portable"]

    @pytest.mark.parametrize(("one", "other"), [("Makefile", "makefile"), ("A/x", "a/y"), ("e\u0301.py", "\u00e9.py")])
    def test_names_that_are_one_file_elsewhere_are_refused(self, tmp_path: Path, one: str, other: str) -> None:
        write(tmp_path, {one: (b"", False), other: (b"", False)})
        with pytest.raises(AuthoringError, match="are one file on other systems"):
            pack(tmp_path)

    def test_too_large_names_the_largest(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PENSTOCK_MAX_ARCHIVE", "1000000")
        write(
            tmp_path,
            {"a.py": (b"x", False), "data/big.csv": (b"x" * 900_000, False), "mid.csv": (b"x" * 200_000, False)},
        )
        with pytest.raises(AuthoringError) as caught:
            pack(tmp_path)
        assert "has 1.1 MB (limit 1.0 MB, PENSTOCK_MAX_ARCHIVE)" in caught.value.detail
        assert "data/big.csv (0.9 MB), mid.csv (0.2 MB)" in caught.value.detail
        assert ".penstockignore" in caught.value.detail
        (tmp_path / ".penstockignore").write_text("data/\n")
        assert len(pack(tmp_path).files) == 3

    def test_the_limit_is_for_the_whole_stream(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path, {f"{index}.py": (b"x", False) for index in range(100)})
        size = len(pack(tmp_path).tar())
        monkeypatch.setenv("PENSTOCK_MAX_ARCHIVE", str(size - 1))
        with pytest.raises(AuthoringError, match="PENSTOCK_MAX_ARCHIVE"):
            pack(tmp_path)
        monkeypatch.setenv("PENSTOCK_MAX_ARCHIVE", str(size))
        assert len(pack(tmp_path).tar()) == size

    def test_too_many_names_the_fullest_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archiving, "MOST_FILES", 5)
        write(tmp_path, {f"data/{index}.txt": (b"", False) for index in range(20)})
        with pytest.raises(AuthoringError, match=r"has more than 5 files.*data/ \(6 files\)"):
            pack(tmp_path)

    def test_a_home_inside_the_project_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path, {"a.py": (b"", False), "state/penstock.db": (b"", False), "sub/state/b.py": (b"", False)})
        monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "state"))
        assert [file.path for file in pack(tmp_path).files] == ["a.py", "sub/state/b.py"]

    def test_what_goes_away_meanwhile_was_never_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path, {"a.py": (b"", False), "gone.tmp": (b"", False)})
        monkeypatch.setattr(archiving._Search, "check", lambda search: (tmp_path / "gone.tmp").unlink())
        assert pack(tmp_path).files == (Packed("a.py", 0),)

    def test_what_cannot_be_read_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def deny(path: object, *_: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        (tmp_path / "a.py").touch()
        with monkeypatch.context() as patch:
            patch.setattr(archiving, "open", deny, raising=False)
            with pytest.raises(AuthoringError, match=r"a\.py cannot be archived: Permission denied.*\.penstockignore"):
                pack(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(archiving.os, "scandir", deny)
            with pytest.raises(AuthoringError, match=r"cannot be read: Permission denied.*\.penstockignore"):
                pack(tmp_path)

    def test_a_small_project_takes_milliseconds(self, tmp_path: Path) -> None:
        write(tmp_path, {f"package/module_{index}.py": (b"x" * 2000, False) for index in range(20)})
        pack(tmp_path)
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            pack(tmp_path)
            times.append(time.perf_counter() - begun)
        assert min(times) < 0.05  # 2 ms where this was written


def member(name: str, data: bytes = b"x", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def stream(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, b"", type=kind, linkname=target)


REFUSED: dict[str, Callable[[], bytes]] = {
    "absolute": lambda: stream(member("/etc/passwd")),
    "two slashes": lambda: stream(member("//a")),
    "up": lambda: stream(member("../a")),
    "up inside": lambda: stream(member("a/../../b")),
    "up in the middle": lambda: stream(member("a/../b")),
    "only up": lambda: stream(member("..")),
    "here": lambda: stream(member("./a")),
    "empty part": lambda: stream(member("a//b")),
    "backslash": lambda: stream(member("..\\a")),
    "drive": lambda: stream(member("C:\\a")),
    "line break": lambda: stream(member("a\nb")),
    "escape": lambda: stream(member("a\x1b[2J")),
    "symbolic link": lambda: stream(link("a", "/etc/passwd", tarfile.SYMTYPE)),
    "link inside": lambda: stream(member("b"), link("a", "b", tarfile.SYMTYPE)),
    "write through a link": lambda: stream(link("a", "/tmp", tarfile.SYMTYPE), member("a/b")),
    "hard link": lambda: stream(member("b"), link("a", "b", tarfile.LNKTYPE)),
    "hard link outside": lambda: stream(link("a", "../../b", tarfile.LNKTYPE)),
    "pipe": lambda: stream(member("a", b"", type=tarfile.FIFOTYPE)),
    "character device": lambda: stream(member("a", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "block device": lambda: stream(member("a", b"", type=tarfile.BLKTYPE, devmajor=8)),
    "contiguous": lambda: stream(member("a", type=tarfile.CONTTYPE)),
    "twice": lambda: stream(member("a"), member("a")),
    "case": lambda: stream(member("a"), member("A")),
    "case of a directory": lambda: stream(member("a/x"), member("A/y")),
    "composed letters": lambda: stream(member("e\u0301"), member("\u00e9")),
    "inside of a file": lambda: stream(member("a"), member("a/b")),
    "inside of a later file": lambda: stream(member("a/b"), member("a")),
    "gzip": lambda: __import__("gzip").compress(stream(member("a"))),
    "no tar": lambda: b"hello" * 200,
    "cut off": lambda: stream(member("a", b"x" * 2000))[:1200],
    "lying size": lambda: stream(member("a", b"x" * 2000)).replace(b"00000003720", b"00007777777"),
}


class TestUnpack:
    @pytest.mark.parametrize("case", REFUSED)
    def test_what_pack_would_not_write_is_refused_whole(self, tmp_path: Path, case: str) -> None:
        data = REFUSED[case]()
        place = tmp_path / "cache"
        with pytest.raises(InvalidInput):
            unpack(data, place / "code", digest_of(data))
        assert list(place.iterdir()) == []
        assert [path.name for path in tmp_path.iterdir()] == ["cache"]

    def test_sparse_files_are_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "sparse"
        with file.open("wb") as hole:
            hole.truncate(50_000_000)
        archive = tmp_path / "sparse.tar"
        for form in ("gnu", "pax"):
            subprocess.run(["tar", f"--format={form}", "-S", "-cf", archive, "-C", tmp_path, "sparse"], check=True)
            data = archive.read_bytes()
            assert len(data) < 1_000_000
            with pytest.raises(InvalidInput):
                unpack(data, tmp_path / "code", digest_of(data))

    def test_too_much_of_anything_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PENSTOCK_MAX_ARCHIVE", "1000")
        data = stream(member("a", b"x" * 600), member("b", b"x" * 600))
        with pytest.raises(InvalidInput, match=r"holds more than 10000 files or 0\.0 MB"):
            unpack(data, tmp_path / "code", digest_of(data))
        monkeypatch.setattr(holding, "MOST_FILES", 2)
        data = stream(member("a", b""), member("b", b""), member("c", b""))
        with pytest.raises(InvalidInput, match="more than 2 files"):
            unpack(data, tmp_path / "code", digest_of(data))

    def test_another_digest_is_refused_before_anything_is_read(self, tmp_path: Path) -> None:
        data = stream(member("a.py"))
        with pytest.raises(InvalidInput, match=f"damaged: its SHA-256 is {digest_of(data)}"):
            unpack(data, tmp_path / "code", "0" * 64)
        assert not (tmp_path / "code").exists()

    def test_files_are_read_only_and_keep_being_executable(self, tmp_path: Path) -> None:
        data = stream(
            member("d", b"", type=tarfile.DIRTYPE), member("d/a.py", mode=0o644), member("run.sh", mode=0o4777, uid=7)
        )
        unpack(data, tmp_path / "code", digest_of(data))
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "code").rglob("*") if path.is_file()
        }
        assert modes == {"a.py": 0o444, "run.sh": 0o555}
        assert (tmp_path / "code" / "run.sh").stat().st_uid == os.getuid()

    def test_from_a_file_into_directories_that_are_not_there_yet(self, tmp_path: Path) -> None:
        data = stream(member("a.py", b"1"))
        (tmp_path / "code.tar").write_bytes(data)
        unpack(tmp_path / "code.tar", tmp_path / "x" / "y" / "code", digest_of(data))
        assert read(tmp_path / "x") == {"y/code/a.py": (b"1", False)}

    def test_what_is_there_already_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "code").mkdir()
        unpack(b"not even a tar", tmp_path / "code", "0" * 64)
        assert list((tmp_path / "code").iterdir()) == []

    def test_an_empty_archive(self, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        archive = pack(tmp_path / "root")
        assert archive.files == ()
        unpack(archive.tar(), tmp_path / "code", archive.digest)
        assert (tmp_path / "code").is_dir()

    def test_many_at_once(self, tmp_path: Path) -> None:
        tree = {f"p/m{index}.py": (b"x" * index, False) for index in range(30)}
        write(tmp_path / "root", tree)
        archive = pack(tmp_path / "root")
        meet = threading.Barrier(8)

        def attempt(_: int) -> dict[str, tuple[bytes, bool]]:
            meet.wait(10)
            unpack(archive.tar(), tmp_path / "cache" / "code", archive.digest)
            return read(tmp_path / "cache" / "code")

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(attempt, range(8))) == [tree] * 8
        assert [path.name for path in (tmp_path / "cache").iterdir()] == ["code"]
