"""The code archive: a directory as one deterministic tar stream, and back, trusting nobody's tar."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from penstock.author.ignoring import Ignoring
from penstock.errors import AuthoringError, InvalidInput
from penstock.ids import digest_of
from penstock.model.archive import MOST_FILES, megabytes, opened, portable, twins
from penstock.settings import Settings

Reason = Literal["symbolic link", "special file", "may hold secrets", "name is not portable"]

_SECRET_ENDS = (".pem", ".key")
_SECRET_STARTS = (".env", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519")


@dataclass(frozen=True)
class Packed:
    """One file of an archive: its path under the root, with forward slashes, and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class Skipped:
    """Something that stays at home although no ignore file says so, and why."""

    path: str
    reason: Reason


@dataclass(frozen=True)
class Archive:
    """The files of a project. Equal files (content, path, executable or not) give the same digest, anywhere."""

    digest: str
    """SHA-256 of the tar stream."""

    files: tuple[Packed, ...]
    skipped: tuple[Skipped, ...]
    _stream: bytes = field(repr=False)

    def tar(self) -> bytes:
        """The uncompressed tar stream that `digest` is of."""
        return self._stream


def pack(root: Path) -> Archive:
    """Archive the files under `root`.

    Left out: what `.gitignore` and `.penstockignore` files say, at every level and above `root` in its repository;
    version control, caches, virtual environments, and whatever looks like a credential. Symbolic links are not followed.
    Raises `AuthoringError` if there is too much, or if a file cannot be read.
    """
    root = root.resolve()
    search = _Search(root, Settings.load())
    search.folder("", Ignoring.above(root))
    search.check()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        packed = [_add(tar, root, path) for path in sorted(search.sizes, key=str.encode)]
    data = stream.getvalue()
    search.check_size(len(data))
    files = tuple(one for one in packed if one is not None)
    skipped = tuple(sorted(search.skipped, key=lambda one: one.path))
    return Archive(digest=digest_of(data), files=files, skipped=skipped, _stream=data)


def _add(tar: tarfile.TarFile, root: Path, path: str) -> Packed | None:
    """Write one file; only its content, its name and whether it is executable get into the archive.

    None if the file is gone: a step that runs meanwhile may write and remove files beside the code.
    """
    try:
        with open(root / path, "rb") as file:  # noqa: PTH123 - Path.open is slower, and there may be thousands
            executable = os.fstat(file.fileno()).st_mode & stat.S_IXUSR
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuthoringError(
            f"{root / path} cannot be archived: {error.strerror}. Make it readable, or name it in a .penstockignore file."
        ) from error
    member = tarfile.TarInfo(path)
    member.size = len(data)
    member.mode = 0o755 if executable else 0o644
    tar.addfile(member, io.BytesIO(data))
    return Packed(path, len(data))


class _Search:
    """One walk over a project."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.sizes: dict[str, int] = {}
        self.skipped: list[Skipped] = []
        self._root = root
        self._limit = settings.max_archive
        self._home = str(settings.home.resolve())

    def folder(self, prefix: str, ignoring: Ignoring) -> None:
        """Take in the directory `prefix` (empty, or ending in a slash) and everything under it."""
        try:
            with os.scandir(self._root / prefix) as listing:
                entries = list(listing)
        except FileNotFoundError:
            return  # gone since its parent was read, see `_add`
        except OSError as error:
            raise AuthoringError(
                f"{self._root / prefix} cannot be read: {error.strerror}. Name it in a .penstockignore file if it is not needed."
            ) from error
        names = {entry.name for entry in entries}
        if prefix and "pyvenv.cfg" in names:
            return  # a virtual environment, whatever it is called
        ignoring = ignoring.within(self._root / prefix, names)
        for entry in entries:
            if len(self.sizes) > MOST_FILES:
                return  # too many already: `check` says so
            self._entry(entry, prefix + entry.name, ignoring)

    def _entry(self, entry: os.DirEntry[str], path: str, ignoring: Ignoring) -> None:
        directory = entry.is_dir(follow_symlinks=False)
        if ignoring.ignores(entry.name, directory=directory):
            return
        reason = _reason(entry, directory=directory)
        if reason is not None:
            self.skipped.append(Skipped(path.encode(errors="replace").decode(), reason))
        elif directory:
            if entry.path != self._home:  # a home inside the project: what runs leave there is no code
                self.folder(path + "/", ignoring.deeper(entry.name))
        else:
            with suppress(FileNotFoundError):
                self.sizes[path] = entry.stat(follow_symlinks=False).st_size

    def check(self) -> None:
        """Raise `AuthoringError` if this is more than an archive may hold, or could not be unpacked everywhere."""
        if len(self.sizes) > MOST_FILES:
            folders = Counter(path.rpartition("/")[0] + "/" for path in self.sizes)
            worst = [f"{folder} ({count} files)" for folder, count in folders.most_common(5)]
            self._refuse(f"has more than {MOST_FILES} files", worst)
        self.check_size(sum(self.sizes.values()))
        same = twins(self.sizes)
        if same is not None:
            raise AuthoringError(
                f"{self._root}: {' and '.join(same)} are one file on other systems. Rename one of them, or name it in a "
                ".penstockignore file."
            )

    def check_size(self, total: int) -> None:
        """Raise `AuthoringError` if `total` bytes, of the files or of the whole stream, are too many."""
        if total > self._limit:
            big = sorted(self.sizes.items(), key=lambda item: -item[1])[:5]
            worst = [f"{path} ({megabytes(size)})" for path, size in big]
            self._refuse(f"has {megabytes(total)} (limit {megabytes(self._limit)}, PENSTOCK_MAX_ARCHIVE)", worst)

    def _refuse(self, what: str, worst: list[str]) -> None:
        raise AuthoringError(
            f"The project {self._root} {what}. Name what the pipeline does not need in a .penstockignore file (the syntax of "
            f".gitignore); data belongs into an artifact store. The most of it: {', '.join(worst)}."
        )


def _reason(entry: os.DirEntry[str], *, directory: bool) -> Reason | None:
    """Why an entry is skipped and told about, if it is."""
    if entry.is_symlink():
        return "symbolic link"
    if entry.name.endswith(_SECRET_ENDS) or entry.name.startswith(_SECRET_STARTS):
        return "may hold secrets"
    if not directory and not entry.is_file(follow_symlinks=False):
        return "special file"
    return None if portable(entry.name) else "name is not portable"


def unpack(data: bytes | Path, target: Path, digest: str) -> None:
    """Put the archive with this digest into the directory `target`, whole or not at all; its files are read-only.

    Does nothing if `target` exists. Any number of processes may do this at once. Raises `InvalidInput`, and leaves
    nothing behind, if the stream has another digest or holds anything that `pack` would not have written: paths that
    lead outside, links, devices, names that are one file on some systems, too much of anything.
    """
    if target.is_dir():
        return
    stream = data if isinstance(data, bytes) else data.read_bytes()
    if digest_of(stream) != digest:
        raise InvalidInput(f"The code archive is damaged: its SHA-256 is {digest_of(stream)}, it should be {digest}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        with opened(stream, Settings.load().max_archive) as (tar, members):
            for member in members:
                _write(tar, member, work / member.name)
        _settle(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Write one checked member. `extractall` would need its filter, which Python before 3.11.4 does not have."""
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    assert source is not None
    path.write_bytes(source.read())
    path.chmod(0o555 if member.mode & stat.S_IXUSR else 0o444)


def _settle(work: Path, target: Path) -> None:
    """Give the finished directory its name; if somebody else was faster, theirs is as good."""
    try:
        work.rename(target)
    except OSError:
        if not target.is_dir():
            raise
