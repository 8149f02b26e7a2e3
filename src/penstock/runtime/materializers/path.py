"""Files and folders: a `pathlib.Path` that a step returns stands for what is there."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from penstock.errors import ArtifactError
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.preview import shortened

_FOLDER = ".folder/facts.json"
"""Of a folder: its name, and what a list of files does not say. A name with `/`: no single file ever has one."""


class PathContent(Materializer):
    """A path to a file or a folder, kept with its content.

    Links are kept as what they point to; of the permissions only `executable` is kept. A loaded path leads to a copy in a
    new temporary folder, which is removed when the process ends: whoever wants to keep it moves it away.
    """

    name = "path"

    def handles(self, kind: type) -> bool:
        """Whether it is a path of this machine."""
        return kind is type(Path())

    def save(self, value: Path, sink: Sink) -> dict[str, Any]:
        """Keep the file, or everything in the folder. Raises `ArtifactError` for what has no content (a socket, nothing)."""
        if type(value) is not type(Path()):
            raise Unfit  # such as a path in a cloud, which only looks like one of this machine
        name = value.name if value.name not in {"", ".."} else value.resolve().name or "root"
        if value.is_file():
            sink.add(_checked(name), value)
            return {"name": shortened(name), "kind": "file"}
        if not value.is_dir():
            found = "is neither a file nor a folder" if value.exists() else "does not exist"
            raise ArtifactError(f"A returned path stands for the file or folder there, but {value} {found}.")
        files, folders, executable = 0, [], []
        for found_at, inside in _walk(value):
            relative = inside.as_posix()
            if found_at.is_dir():
                folders.append(relative)
                continue
            files += 1
            sink.add(_checked(f"{name}/{relative}"), found_at)
            if os.access(found_at, os.X_OK):
                executable.append(relative)
        facts = {"name": name, "folders": folders, "executable": executable}
        sink.write(_FOLDER, msgspec.json.encode(facts))
        return {"name": shortened(name), "kind": "folder", "files": files, "folders": len(folders)}

    def load(self, files: Files, type_hint: Any) -> Path:
        """The path of a fresh copy."""
        home = _fresh_folder()
        if _FOLDER not in files.names:
            (name,) = files.names
            target = _within(home, name)
            files.copy(name, target)
            return target
        facts = msgspec.json.decode(files.read(_FOLDER))
        top = _within(home, facts["name"])
        top.mkdir()
        for inside in facts["folders"]:
            _within(top, inside).mkdir(parents=True, exist_ok=True)
        for name in files.names:
            if name != _FOLDER:
                target = _within(home, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                files.copy(name, target)
        for inside in facts["executable"]:
            _within(top, inside).chmod(0o755)
        return top


def _walk(top: Path) -> Iterator[tuple[Path, PurePosixPath]]:
    """Everything below `top`, folders before what is in them, with the path from `top`."""
    waiting: list[tuple[Path, PurePosixPath, tuple[Path, ...]]] = [(top, PurePosixPath(), (top.resolve(),))]
    while waiting:
        folder, inside, above = waiting.pop()
        for entry in sorted(folder.iterdir()):
            mode = entry.stat().st_mode
            yield entry, inside / entry.name
            if stat.S_ISDIR(mode):
                real = entry.resolve()
                if real in above:
                    raise ArtifactError(f"{entry} is a link to a folder that it lies in: it has no end.")
                waiting.append((entry, inside / entry.name, (*above, real)))
            elif not stat.S_ISREG(mode):
                raise ArtifactError(f"{entry} is neither a file nor a folder: it cannot be kept.")


def _checked(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ArtifactError(f"The file name {name!r} is no valid text: rename it before returning its path.") from None
    return name


def _within(folder: Path, name: str) -> Path:
    """`folder / name`, for a name out of a record: it may not lead out of the folder."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute() or "\0" in name:
        raise ArtifactError(f"The artifact holds a file named {name!r}, which is no name inside a folder.")
    return folder.joinpath(*parts)


def _fresh_folder() -> Path:
    folder, maker = Path(tempfile.mkdtemp(prefix="penstock-")), os.getpid()

    def remove() -> None:
        if os.getpid() == maker:  # a process forked off later shares the folder, and does not own it
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
