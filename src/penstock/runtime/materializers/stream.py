"""Streams: what a generator yields, kept item by item, so that neither saving nor reading holds more than one.

A file of JSON lines, one for each item, in the form of `structured`; items that are no data (arrays, frames) are parts with a mark in
their line.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from types import GeneratorType
from typing import Any, get_origin

import msgspec

from penstock.errors import ArtifactError, PenstockError
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.preview import plain
from penstock.runtime.materializers.structured import decoded, encoded

_ITEMS = "items.jsonl"
_COUNT = "stream.json"
_SHOWN = 5


class Stream:
    """What a step gets for the output of one that yielded: its items, read one by one, as often as wanted.

    `len` says how many there are. Nothing of it is in memory; the file that they are read from goes with this object.
    """

    def __init__(self, items: Path, count: int, files: Files) -> None:
        self._items = items
        self._count = count
        self._files = files
        self._cleanup = weakref.finalize(self, rmtree, items.parent, ignore_errors=True)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        with self._items.open("rb") as lines:
            for index, line in enumerate(lines):
                yield self._item(index, line)

    def _item(self, index: int, line: bytes) -> Any:
        try:
            return decoded(line, self._files.part)
        except PenstockError:
            raise
        except Exception as error:
            raise ArtifactError(
                f"Item {index} of the stream cannot be loaded: {type(error).__name__}: {error}"
            ) from error

    def __repr__(self) -> str:
        return f"<stream of {self._count} items>"


class Streamed(Materializer):
    """Generators, which can be kept once because they can be read once, and streams that were loaded."""

    name = "stream"

    def handles(self, kind: type) -> bool:
        """Whether it is one of the two."""
        return kind is GeneratorType or kind is Stream

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Read the generator to its end and keep what it yields. What it raises passes through, and nothing is kept."""
        count, first = 0, []
        with sink.path(_ITEMS).open("wb") as lines:
            for item in value:
                try:
                    lines.write(encoded(item, sink.part) + b"\n")
                except Unfit:
                    kind = f"{type(item).__module__}.{type(item).__qualname__}"
                    raise ArtifactError(
                        f"item {count} is a {kind}, which only pickle could keep: yield plain data, arrays or frames"
                    ) from None
                if count < _SHOWN:
                    first.append(plain(item))
                count += 1
        sink.write(_COUNT, msgspec.json.encode({"count": count}))
        return {"length": count, "head": first}

    def load(self, files: Files, type_hint: Any) -> Any:
        """The stream; a list where that is what is wanted."""
        count = msgspec.json.decode(files.read(_COUNT))["count"]
        folder = Path(tempfile.mkdtemp(prefix="penstock-"))
        try:
            files.copy(_ITEMS, folder / _ITEMS)
        except BaseException:
            rmtree(folder, ignore_errors=True)
            raise
        stream = Stream(folder / _ITEMS, count, files)
        return list(stream) if get_origin(type_hint) is list or type_hint is list else stream
