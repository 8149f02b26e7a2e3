"""The files of one value on their way into an artifact store, and out of it."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from hashlib import file_digest
from pathlib import Path
from typing import Any, BinaryIO

from penstock.errors import ArtifactError
from penstock.model.artifact import File
from penstock.runtime.materializers.base import Materializer, Unfit, is_local
from penstock.runtime.materializers.registry import candidates, named
from penstock.stack.contracts import ArtifactStore

_SMALL = 1024 * 1024


class Folder:
    """A temporary folder that is made when it is first needed."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._count = 0

    def new(self) -> Path:
        """A path in the folder at which nothing is yet."""
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix="penstock-"))
        self._count += 1
        return self._path / str(self._count)

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)


class Staged:
    """A `Sink`. `asked` is the materializer that writes to it; a part of its value is never given back to it."""

    def __init__(self, folder: Folder, files: dict[str, bytes | Path], prefix: str = "") -> None:
        self._folder = folder
        self._files = files
        self._prefix = prefix
        self._parts = 0
        self.asked: Materializer | None = None

    def write(self, name: str, data: bytes) -> None:
        """See `Sink`."""
        self._keep(name, data)

    def path(self, name: str) -> Path:
        """See `Sink`."""
        target = self._folder.new()
        self._keep(name, target)
        return target

    def add(self, name: str, source: Path) -> None:
        """See `Sink`."""
        self._keep(name, source)

    def part(self, value: Any) -> dict[str, Any]:
        """See `Sink`."""
        prefix = f"{self._prefix}parts/{self._parts}/"
        self._parts += 1
        known = [one for one in candidates(value) if not one.code_bearing and one is not self.asked]
        materializer, _ = deposit(value, known, Staged(self._folder, self._files, prefix))
        return {"materializer": materializer.name, "at": prefix}

    def clear(self) -> None:
        """Forget what was written here, by a materializer that turned out not to fit."""
        for name in [name for name in self._files if name.startswith(self._prefix)]:
            del self._files[name]

    def _keep(self, name: str, content: bytes | Path) -> None:
        name = self._prefix + name
        if name in self._files:
            raise ArtifactError(f"its materializer wrote the file '{name}' twice")
        self._files[name] = content


def deposit(value: Any, known: Sequence[Materializer], sink: Staged) -> tuple[Materializer, dict[str, Any]]:
    """Have the first of `known` that can do it write the value; which one, and its facts. Raises `Unfit` if none can."""
    for materializer in known:
        sink.asked = materializer
        try:
            return materializer, materializer.save(value, sink)
        except Unfit:
            sink.clear()
    raise Unfit


class Fetched:
    """`Files` of a stored value, read when they are asked for."""

    def __init__(self, store: ArtifactStore, files: Mapping[str, File], cleanup: ExitStack, prefix: str = "") -> None:
        self._store = store
        self._files = files
        self._cleanup = cleanup
        self._prefix = prefix

    @property
    def names(self) -> Sequence[str]:
        """See `Files`."""
        return [name.removeprefix(self._prefix) for name in self._files if name.startswith(self._prefix)]

    def read(self, name: str) -> bytes:
        """See `Files`."""
        return self._store.get(self._file(name).digest)

    def open(self, name: str) -> BinaryIO:
        """See `Files`."""
        file = self._file(name)
        if file.size <= _SMALL:
            return io.BytesIO(self._store.get(file.digest))
        blob = self._cleanup.enter_context(self._store.open(file.digest))
        if is_local(blob) and file_digest(blob, "sha256").hexdigest() == file.digest:
            blob.seek(0)  # nothing to copy; a blob that is not what it should be is left to the store to name
            return blob
        folder = Folder()
        self._cleanup.callback(folder.remove)
        target = folder.new()
        self._store.fetch(file.digest, target)
        return self._cleanup.enter_context(target.open("rb"))

    def copy(self, name: str, target: Path) -> None:
        """See `Files`."""
        self._store.fetch(self._file(name).digest, target)

    def part(self, kept: dict[str, Any]) -> Any:
        """See `Files`."""
        materializer = named(kept["materializer"])
        if materializer.code_bearing:
            raise ArtifactError(
                "a part of it was stored with pickle, which no part ever is: the artifact was tampered with"
            )
        # Its own: a stream asks for its parts when the load of the whole is long over.
        with ExitStack() as cleanup:
            return materializer.load(Fetched(self._store, self._files, cleanup, kept["at"]), None)

    def _file(self, name: str) -> File:
        found = self._files.get(self._prefix + name)
        if found is None:
            raise ArtifactError(f"its file '{name}' is missing")
        return found
