"""What one request leaves for the record: its events and its output, noted in memory and written later, by somebody else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from penstock.model.run import Event, EventType, LogLine
from penstock.runtime.hiding import without_secrets
from penstock.runtime.lines import LINE_LIMIT, Stream, storable
from penstock.runtime.mask import Mask
from penstock.runtime.patches import behind
from penstock.runtime.streams import Pipe, here

OUTPUT_LIMIT = 256 * 1024
"""Characters of output that are kept of one request."""

_CUT = f"[penstock: more than {OUTPUT_LIMIT // 1024} KB of output; what follows is not kept]"


class Recording:
    """The journal of one request, as the engine writes it. Threads may write at once."""

    __slots__ = (
        "_begun",
        "_mask",
        "_room",
        "created",
        "events",
        "id",
        "lines",
        "mirror_of",
        "name",
        "origins",
        "parameters",
        "tags",
    )

    def __init__(self, id: str, name: str) -> None:
        self.id = id
        self.name = name
        self.created = time.time()
        self.parameters: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.tags: tuple[str, ...] = ()
        self.mirror_of: str | None = None
        self.events: list[tuple[float, EventType, dict[str, Any]]] = []
        self.lines: list[tuple[float, Stream, str, str | None]] = []
        self._begun: dict[tuple[str | None, Stream, int], str] = {}
        self._room = OUTPUT_LIMIT
        self._mask = Mask()

    # The journal

    def write(self, type: EventType, **fields: Any) -> None:
        """Note an event."""
        self.events.append((time.time(), type, fields))

    def hide(self, values: Iterable[str]) -> None:
        """Tell nobody these texts."""
        self._mask.add(values)

    def flush(self) -> None:
        """Nothing of a request is known elsewhere before it has been answered: there is nothing to wait for."""

    def masked(self, text: str | None) -> str | None:
        """`text` without secrets that were read."""
        return None if text is None else self._mask(text)

    # The output

    def step(self, step_id: str | None) -> AbstractContextManager[None]:
        """What is written inside belongs to this step; with None, to the run itself."""
        return _Place(self, step_id)

    def note(self, text: str) -> None:
        """Put words of Penstock into the log of the step (or run) that calls."""
        place = here.get()
        step = place.step if isinstance(place, _Place) else None
        for line in text.rstrip("\n").split("\n"):
            self._keep(line, "stderr", step)

    def printed(self, text: str, stream: Stream, step: str | None, source: int) -> None:
        """Take in what was written; what has no end yet is kept until it has one."""
        key = (step, stream, source)
        *ended, rest = (self._begun.pop(key, "") + text).split("\n")
        for line in ended:
            self._keep(line, stream, step)
        if rest and self._room > 0:
            self._begun[key] = _standing(rest)

    def _keep(self, text: str, stream: Stream, step: str | None) -> None:
        if self._room <= 0:
            return
        self._room -= len(text) + 1
        text = _CUT if self._room <= 0 else storable(_standing(text).rstrip("\r"))
        self.lines.append((time.time(), stream, text, step))

    # The record

    def encoded(self, snapshot_id: str) -> bytes:
        """The whole as one line of JSON: a `ServedRun`."""
        for (step, stream, _), rest in list(self._begun.items()):
            self._keep(rest, stream, step)
        self._begun.clear()
        events: list[Any] = self._events()
        if self._mask:
            events = [
                without_secrets(self._mask, Event(**{name: _opened(value) for name, value in one.items()}))
                for one in events
            ]
        told = {
            "id": self.id,
            "name": self.name,
            "snapshot_id": snapshot_id,
            "parameters": self.parameters,
            "origins": self.origins,
            "tags": self.tags,
            "mirror_of": self.mirror_of,
            "created": _moment(self.created),
            "events": events,
        }
        return msgspec.json.encode(told, enc_hook=_by_type)

    def _events(self) -> list[dict[str, Any]]:
        *before, last = self.events
        told = [*before]
        if self.lines:
            lines = tuple(
                LogLine(at=_moment(at), stream=out, text=text, step=step) for at, out, text, step in self.lines
            )
            told.append((last[0], "log", {"lines": lines}))
        told.append(last)
        return [
            {"seq": seq, "at": _moment(at), "type": type, **fields}
            for seq, (at, type, fields) in enumerate(told, start=1)
        ]


class _Place:
    """Where the output of one step (or of the run) of a request goes; see `streams.Place`. It is that in its own block."""

    __slots__ = ("_token", "recording", "step")
    listening = True
    shown = False

    def __init__(self, recording: Recording, step: str | None) -> None:
        self.recording = recording
        self.step = step

    def __enter__(self) -> None:
        self._token = here.set(self)

    def __exit__(self, *_: object) -> None:
        here.reset(self._token)

    def write(self, stream: Stream, text: str, source: int | None = None) -> None:
        """Keep it, and show it in the log of the service."""
        if not text:
            return
        self.recording.printed(text, stream, self.step, source or threading.get_ident())
        terminal = _terminal(stream)
        if terminal is not None:
            terminal.write(text)

    def ended(self, source: int) -> None:
        """A line that was begun is whole when the request ends."""

    def pipe(self, stream: Stream) -> tuple[Pipe, int]:
        """A pipe for another process; it is heard by a thread of its own until it ends."""
        from penstock.runtime.streams import new_pipe  # only steps that start processes need it

        reading, writing = new_pipe()
        pipe = Pipe(reading, stream, lambda: self)
        threading.Thread(target=_hear, args=(pipe, reading), name="penstock-output", daemon=True).start()
        return pipe, writing


def _standing(text: str) -> str:
    """What stands in a line in the end, whose writer went back to its beginning; and that he did, if nothing came after it."""
    shown = text.rstrip("\r").rpartition("\r")[2][:LINE_LIMIT]
    return f"{shown}\r" if text.endswith("\r") else shown


def _hear(pipe: Pipe, reading: int) -> None:
    import select  # as above

    here.set(None)
    while pipe.descriptor == reading:
        select.select([reading], [], [], 1.0)
        pipe.drain()


def _terminal(stream: Stream) -> TextIO | None:
    try:
        return behind(stream)
    except KeyError:  # nothing is captured in this process
        return getattr(sys, f"__{stream}__", None)


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _opened(value: Any) -> Any:
    """What was encoded already, as values: secrets are looked for in these."""
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def _by_type(value: Any) -> str:
    """What is no JSON, and stands in an event because a step noted it."""
    return f"<{type(value).__qualname__}>"
