"""Last words: what a run has written and the server has not acknowledged, on disk for the case that the process dies."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from penstock.model.run import Event
from penstock.model.wire import reader

LIMIT = 1_000_000
"""Bytes of free text that last words may have; older lines give way."""

_OUR_FRAMES = (f'File "{Path(__file__).parents[1]}', "Extension modules:")

_encode = msgspec.json.Encoder().encode
_decode = reader(Event)


class Spool:
    """The file of one claimed run. It survives a crash of the process, not one of the machine: nothing waits for the disk.

    A spool that cannot be written loses the last words of a crash and nothing else, so no error leaves it.
    """

    def __init__(self, home: str, run_id: str, fence: int) -> None:
        self._path = _path(home, run_id, fence)
        self._file = -1
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, event: Event) -> None:
        """Keep an event until `forget`."""
        with suppress(OSError):
            os.write(self._file, _encode(event) + b"\n")

    def forget(self) -> None:
        """Everything so far has been acknowledged."""
        with suppress(OSError):
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """The run's end has been acknowledged: there is nothing more to say."""
        with suppress(OSError):
            os.close(self._file)
        self._file = -1
        self._path.unlink(missing_ok=True)


def crash_path(home: str, run_id: str, fence: int) -> Path:
    """Where the interpreter writes where it was, should the process of this claim crash."""
    path = _path(home, run_id, fence)
    return path.with_name(f"{path.name}.crash")


def crash(home: str, run_id: str, fence: int) -> str | None:
    """Where the interpreter was, in user code, when the process of this claim crashed; None if it wrote nothing.

    Removes the file.
    """
    path = crash_path(home, run_id, fence)
    try:
        text = path.read_text(errors="replace")[:LIMIT]
    except OSError:
        return None
    path.unlink(missing_ok=True)
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(_OUR_FRAMES)) or None


def last_words(home: str, run_id: str, fence: int) -> tuple[Event, ...]:
    """What the dead process of this claim left unsaid, in order, and no longer than is fit for one report. Removes it."""
    path = _path(home, run_id, fence)
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return ()
    path.unlink(missing_ok=True)
    events = []
    for line in lines:
        try:
            events.append(_decode(line))
        except msgspec.DecodeError:
            break  # the line that it was writing when it died
    return tuple(_shortened(events))


def _shortened(events: list[Event]) -> list[Event]:
    room, kept = LIMIT, []
    for event in reversed(events):
        room -= sum(len(line.text) for line in event.lines)
        kept.append(event if room > 0 else replace(event, lines=()))
    return kept[::-1]


def _path(home: str, run_id: str, fence: int) -> Path:
    return Path(home) / "spool" / f"{run_id}@{fence}"
