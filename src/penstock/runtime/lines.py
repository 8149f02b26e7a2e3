"""Output as it comes, made into lines as they are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from penstock.model.run import LogLine
from penstock.runtime.mask import SHORTEST, Mask
from penstock.runtime.screen import QUIET, Row, Screen, broken_off, moves, plain

LINE_LIMIT = 64 * 1024
"""Bytes of one line; a longer one goes on in the next."""

STEP_LIMIT = 10 * 1024 * 1024
"""Bytes of output that are kept of one step."""

LINE_COST = 64
"""Bytes for which a line counts at least: keeping it costs that much, however short it is."""

Stream = Literal["stdout", "stderr"]

_FULL = f"[penstock: more than {STEP_LIMIT // 1024**2} MB of output; what follows is not kept]"
_MISSED = "[penstock: the output came faster than it could be kept; some of it is missing here]"


class Origin:
    """What output is counted by: one step, or the run outside of its steps (None)."""

    def __init__(self, step: str | None) -> None:
        self.step = step
        self.kept = 0
        self.full = False
        """Nothing more is kept of it."""

        self.pending = 0
        """Characters that wait to be made into lines, about."""

        self.missed = False
        """Something was left out because too much was waiting, and this was not told yet."""

    def show(self, line: LogLine) -> None:
        """Put a line before the person at the terminal, who has not seen what it is made of. Nobody is there, by default."""


class Piece(NamedTuple):
    """Something that was written.

    `source` tells apart what must not mix within a line. Threads have their numbers. They share the rows to which their
    bars go back, as on a terminal; whoever has a negative number (a process) has such rows for itself.
    """

    at: float
    origin: Origin
    stream: Stream
    source: int
    text: str
    shown: bool = True
    """Who is to see it at a terminal has seen it already."""


class End(NamedTuple):
    """Nothing more comes of this origin, or of this one source of it."""

    origin: Origin
    source: int | None = None


class Assembler:
    """Pieces in, lines out: of plain text at once, of progress bars their last state, and some on the way there."""

    def __init__(self, mask: Mask | None = None) -> None:
        self._mask = mask or Mask()
        self._begun: dict[tuple[Origin, Stream, int], Piece] = {}
        self._screens: dict[tuple[Origin, Stream, int], Screen[Piece]] = {}

    @property
    def waits(self) -> bool:
        """Whether there is something that is kept as it stands if nothing more comes."""
        return bool(self._begun or self._screens)

    def feed(self, piece: Piece) -> Iterator[LogLine]:
        """The lines that this piece ends."""
        key = (piece.origin, piece.stream, piece.source)
        begun = self._begun.pop(key, None)
        text = self._mask(begun.text + piece.text if begun else piece.text)
        common = (piece.origin, piece.stream, min(piece.source, 0))
        screen = self._screens.get(common)
        yield from self._passed(common, piece.at)
        if screen is None and (moves(text) or text.count("\n") == len(text) > 0):
            # Bare newlines may be a move down, to a second bar.
            screen = self._screens[common] = Screen()
        if screen is not None:
            yield from self._lines(screen.write(text, piece._replace(text=""), piece.at))
            return
        *ended, rest = text.split("\n")
        for line in ended:
            yield from _kept(piece, line)
        # What may be half of a secret is not cut off: the other half is still to come.
        waits = self._mask.begun(rest)
        *whole, last = _portions(rest[: len(rest) - waits])
        for line in whole:
            yield from _kept(piece, line)
        rest = last + rest[len(rest) - waits :]
        if rest and not piece.origin.full:
            self._begun[key] = piece._replace(text=rest)

    def overdue(self, now: float) -> Iterator[LogLine]:
        """The lines that nobody went on with, and the states of bars that are done or have taken long."""
        yield from self._cut(
            lambda begun: (
                now - begun.at >= QUIET and not broken_off(begun.text) and self._mask.begun(begun.text) < SHORTEST
            )
        )
        for key, screen in list(self._screens.items()):
            yield from self._lines(screen.due(now))
            if screen.still(now):
                del self._screens[key]
                yield from self._lines(screen.rest(now))

    def end(self, of: End | None = None) -> Iterator[LogLine]:
        """The lines that were begun and never ended: all, or those that have come to this end."""
        yield from self._cut(
            lambda begun: of is None or (begun.origin is of.origin and of.source in {None, begun.source})
        )
        for key, screen in list(self._screens.items()):
            origin, _, source = key
            if of is None or (origin is of.origin and of.source in {None, source}):
                del self._screens[key]
                yield from self._lines(screen.rest(time.time()))

    def _passed(self, now_at: tuple[Origin, Stream, int], now: float) -> Iterator[LogLine]:
        """What was done on the other stream, before whoever wrote there turned to this one."""
        for key, screen in self._screens.items():
            if key[0] is now_at[0] and key[2] == now_at[2] and key[1] != now_at[1]:
                yield from self._lines(screen.passed(now))

    def _lines(self, rows: Iterable[Row[Piece]]) -> Iterator[LogLine]:
        for row in rows:
            yield from _kept(row.mark, self._mask(row.shown))

    def _cut(self, chosen: Callable[[Piece], bool]) -> Iterator[LogLine]:
        for key, begun in list(self._begun.items()):
            if chosen(begun):
                del self._begun[key]
                if plain(begun.text).strip("\r"):
                    yield from _kept(begun, begun.text)


def missed(piece: Piece) -> LogLine:
    """The line that says that something of this origin was left out."""
    return _line(piece, _MISSED)


def storable(text: str) -> str:
    """`text` without what databases and JSON do not take: NUL and lone surrogates become U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _kept(piece: Piece, text: str) -> Iterator[LogLine]:
    """The line `text`, in as many portions as it takes, as far as there is room for it."""
    origin = piece.origin
    for portion in _portions(storable(plain(text.rstrip("\r")))):
        if origin.full:
            return
        size = max(LINE_COST, 1 + (len(portion) if portion.isascii() else len(portion.encode())))
        if origin.kept + size > STEP_LIMIT:
            origin.full = True
        origin.kept += size
        line = _line(piece, _FULL if origin.full else portion)
        if not piece.shown:
            origin.show(line)
        yield line


def _line(piece: Piece, text: str) -> LogLine:
    return LogLine(at=datetime.fromtimestamp(piece.at, UTC), stream=piece.stream, text=text, step=piece.origin.step)


def _portions(text: str) -> list[str]:
    if len(text) * 4 <= LINE_LIMIT or (text.isascii() and len(text) <= LINE_LIMIT):
        return [text]
    if len(text) <= LINE_LIMIT and len(text.encode(errors="replace")) <= LINE_LIMIT:
        return [text]
    width = LINE_LIMIT if text.isascii() else LINE_LIMIT // 4
    return [text[at : at + width] for at in range(0, len(text), width)]
