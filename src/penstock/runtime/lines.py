"""Output as it comes, made into lines as they are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from penstock.model.run import LogLine

LINE_LIMIT = 64 * 1024
"""Bytes of one line; a longer one goes on in the next."""

STEP_LIMIT = 10 * 1024 * 1024
"""Bytes of output that are kept of one step."""

LINE_COST = 64
"""Bytes for which a line counts at least: keeping it costs that much, however short it is."""

QUIET = 0.2
"""Seconds after which a line that was not ended is kept as it stands."""

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


class Piece(NamedTuple):
    """Something that was written. `source` tells apart what must not mix within a line: a thread, a process."""

    at: float
    origin: Origin
    stream: Stream
    source: int
    text: str


class End(NamedTuple):
    """Nothing more comes of this origin, or of this one source of it."""

    origin: Origin
    source: int | None = None


class Assembler:
    """Pieces in, lines out. A carriage return begins the line anew, so of a progress bar the last state is kept."""

    def __init__(self) -> None:
        self._begun: dict[tuple[Origin, Stream, int], Piece] = {}

    @property
    def waits(self) -> bool:
        """Whether there is a line that is kept as it stands if nothing more comes."""
        return any("\r" not in begun.text for begun in self._begun.values())

    def feed(self, piece: Piece) -> Iterator[LogLine]:
        """The lines that this piece ends."""
        key = (piece.origin, piece.stream, piece.source)
        begun = self._begun.pop(key, None)
        *ended, rest = (begun.text + piece.text if begun else piece.text).split("\n")
        for text in ended:
            yield from _kept(piece, text)
        if "\r" in rest:
            # The return stays in front: it marks a line that may yet change and is not cut short by a pause.
            rest = "\r" + _last_state(rest) + ("\r" if rest.endswith("\r") else "")
        *whole, rest = _portions(rest)
        for text in whole:
            yield from _kept(piece, text)
        if rest and not piece.origin.full:
            self._begun[key] = piece._replace(text=rest)

    def overdue(self, now: float) -> Iterator[LogLine]:
        """The lines that nobody went on with for `QUIET`; progress bars may take their time."""
        return self._cut(lambda begun: "\r" not in begun.text and now - begun.at >= QUIET)

    def end(self, of: End | None = None) -> Iterator[LogLine]:
        """The lines that were begun and never ended: all, or those that have come to this end."""
        return self._cut(lambda begun: of is None or (begun.origin is of.origin and of.source in {None, begun.source}))

    def _cut(self, chosen: Callable[[Piece], bool]) -> Iterator[LogLine]:
        for key, begun in list(self._begun.items()):
            if chosen(begun):
                del self._begun[key]
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
    for portion in _portions(storable(_last_state(text))):
        if origin.full:
            return
        size = max(LINE_COST, 1 + (len(portion) if portion.isascii() else len(portion.encode())))
        if origin.kept + size > STEP_LIMIT:
            origin.full = True
            yield _line(piece, _FULL)
            return
        origin.kept += size
        yield _line(piece, portion)


def _line(piece: Piece, text: str) -> LogLine:
    return LogLine(at=datetime.fromtimestamp(piece.at, UTC), stream=piece.stream, text=text, step=piece.origin.step)


def _last_state(text: str) -> str:
    """What a terminal would show of a line: what was written after the last return that something came after."""
    if "\r" not in text:
        return text
    return next((state for state in reversed(text.split("\r")) if state), "")


def _portions(text: str) -> list[str]:
    if len(text) * 4 <= LINE_LIMIT or (text.isascii() and len(text) <= LINE_LIMIT):
        return [text]
    if len(text) <= LINE_LIMIT and len(text.encode(errors="replace")) <= LINE_LIMIT:
        return [text]
    width = LINE_LIMIT if text.isascii() else LINE_LIMIT // 4
    return [text[at : at + width] for at in range(0, len(text), width)]
