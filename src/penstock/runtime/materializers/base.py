"""The contract of a materializer: values of some types, kept as named files."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, TypeGuard


class Unfit(Exception):  # like StopIteration: an answer, not a mistake
    """Raised by `Materializer.save`: it would keep this value with a loss. The next materializer is asked."""


class Sink(Protocol):
    """Where a materializer puts the files of one value. Nothing is stored before `save` has returned.

    Names are relative paths with `/`; each is given once.
    """

    def write(self, name: str, data: bytes) -> None:
        """Keep these bytes under `name`."""

    def path(self, name: str) -> Path:
        """A path to write a big file to; what is there when `save` returns is kept under `name`."""

    def add(self, name: str, source: Path) -> None:
        """Keep the content of an existing file, as it is when `save` has returned, under `name`."""

    def part(self, value: Any) -> dict[str, Any]:
        """Keep a value inside the value by its own materializer; what is returned is JSON, for `Files.part`.

        Raises `Unfit` if only pickle could keep it.
        """


class Files(Protocol):
    """The files of one stored value, checked against their digests when they are read."""

    @property
    def names(self) -> Sequence[str]:
        """The names under which `save` kept them."""

    def read(self, name: str) -> bytes:
        """The bytes of a file."""

    def open(self, name: str) -> BinaryIO:
        """A reader of a file that may be too big for memory. It closes itself after `load`."""

    def copy(self, name: str, target: Path) -> None:
        """Write a file to `target`, in a folder that exists."""

    def part(self, kept: dict[str, Any]) -> Any:
        """The value that `Sink.part` kept."""


class Materializer(ABC):
    """Keeps values of some types. One instance serves all threads; it has no state.

    `name` is written into every artifact and must never change its meaning. `code_bearing` says that `load` can run code
    that whoever wrote the files has chosen.
    """

    name: ClassVar[str]
    code_bearing: ClassVar[bool] = False

    @abstractmethod
    def handles(self, kind: type) -> bool:
        """Whether this is for values of the class `kind`.

        It is asked for the class of a value and then for each of its bases; look at names before importing a package.
        """

    @abstractmethod
    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Put `value` into files; return a few facts about it as JSON (8 KB are kept).

        Raises `Unfit`, before it writes, if loading would not give back an equal value of the same class.
        """

    @abstractmethod
    def load(self, files: Files, type_hint: Any) -> Any:
        """The value. `type_hint` is a class or annotation that the caller would like, or None for what was saved."""


def is_local(file: BinaryIO) -> TypeGuard[io.BufferedReader]:
    """Whether it is a file of this machine, which others may read by its path."""
    return isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO)
