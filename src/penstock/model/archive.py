"""What a code archive may hold: nobody's tar is trusted, neither where it is taken in nor where it is unpacked."""

from __future__ import annotations

import io
import tarfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from penstock.errors import InvalidInput

MOST_FILES = 10_000


@contextmanager
def opened(stream: bytes, limit: int) -> Iterator[tuple[tarfile.TarFile, list[tarfile.TarInfo]]]:
    """The archive in `stream` and its members, if all of them are plain files and folders with paths below the archive.

    Raises `InvalidInput` for anything else: paths that lead outside, links, devices, names that are one file on some
    systems, a path twice, more than `limit` bytes, too many files, or what is no uncompressed tar.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(stream), mode="r:") as tar:
            yield tar, _checked(tar, limit)
    except (tarfile.TarError, EOFError, UnicodeError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"The code archive cannot be read: {error}.") from error


def check(stream: bytes, limit: int) -> None:
    """Raise `InvalidInput` unless `stream` is an archive that `opened` opens."""
    with opened(stream, limit):
        pass


def portable(name: str) -> bool:
    """Whether one component of a path means the same on every system: UTF-8, no control characters, no backslash."""
    return name not in ("", ".", "..") and "\\" not in name and not any(map(_unprintable, name))


def _unprintable(letter: str) -> bool:
    return letter < " " or letter == "\x7f" or "\ud800" <= letter <= "\udfff"


def twins(paths: Iterable[str]) -> tuple[str, str] | None:
    """Two paths that a file system without upper and lower case, or with composed letters, takes for one."""
    spellings: dict[str, str] = {}
    for path in paths:
        end = path.find("/")
        while True:
            place = path if end < 0 else path[:end]
            known = spellings.setdefault(_folded(place), place)
            if known != place:
                return known, place
            if end < 0:
                break
            end = path.find("/", end + 1)
    return None


def _folded(path: str) -> str:
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path.casefold())


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1_000_000:.1f} MB"


def _checked(tar: tarfile.TarFile, limit: int) -> list[tarfile.TarInfo]:
    """The members, if all of them are what `pack` could have written."""
    members: list[tarfile.TarInfo] = []
    total = 0
    for member in tar:
        members.append(member)
        total += member.size
        if len(members) > 2 * MOST_FILES or total > limit:
            raise InvalidInput(f"The code archive holds more than {MOST_FILES} files or {megabytes(limit)}.")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or member.sparse is not None:
            raise InvalidInput(f"The code archive holds {member.name!r}, which is neither a file nor a directory.")
        if not all(map(portable, member.name.split("/"))):
            raise InvalidInput(
                f"The code archive holds {member.name!r}, a path that leads elsewhere or is not portable."
            )
    files = {member.name for member in members if member.isreg()}
    if len(files) > MOST_FILES or len({member.name for member in members}) < len(members):
        raise InvalidInput(f"The code archive holds a path twice, or more than {MOST_FILES} files.")
    same = twins(member.name for member in members)
    if same is not None:
        raise InvalidInput(f"The code archive holds {same[0]!r} and {same[1]!r}, which are one file on other systems.")
    for member in members:
        if not files.isdisjoint(map(str, PurePosixPath(member.name).parents)):
            raise InvalidInput(f"The code archive holds {member.name!r} inside of a file.")
    return members
