"""What a supervisor asks of a process that looks at a Python or builds one: over the socket that is its standard input."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec

from penstock.model.requirements import Requirements
from penstock.model.stack import Component
from penstock.runtime import processes
from penstock.runtime.environments import Built


class Question(msgspec.Struct, frozen=True):
    """What an interpreter is asked."""

    requires: Requirements
    modules: list[str] = []
    """Modules that it must be able to import besides."""


class Fit(msgspec.Struct, frozen=True):
    """What it answers."""

    misfits: list[str]
    """Why it does not fit, in words."""

    python: str
    tag: str
    """Implementation and version as far as packages care: `cpython-3.11`."""

    seen: dict[str, int]
    """The directories on its path, and when each was changed last: while that is so, the answer holds."""


class Order(msgspec.Struct, frozen=True):
    """What is to be built."""

    home: str
    requires: Requirements
    python: str
    """The interpreter that did not fit. Where its version does, it is the base of the new environment."""

    version: str
    tag: str
    components: dict[str, Component] = {}
    """The parts of its stack that the run uses itself."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of it."""

    built: Built | None = None
    fresh: bool = False
    """Whether it was built now."""

    failure: str | None = None
    lines: list[str] = []
    """Of a failed build: what uv said, at the end."""


def changed(path: list[str]) -> dict[str, int]:
    """When each of these directories was changed last; what is no directory is left out."""
    return {entry: Path(entry).stat().st_mtime_ns for entry in path if entry and Path(entry).is_dir()}


def asked() -> socket.socket:
    """The socket that is our standard input; nobody else reads there from now on."""
    channel = socket.socket(fileno=os.dup(0))
    processes.leave_stdin()
    return channel


def read_all(channel: socket.socket) -> bytes:
    """What the other side says, until it has said all."""
    said = b""
    while part := channel.recv(1 << 16):
        said += part
    return said
