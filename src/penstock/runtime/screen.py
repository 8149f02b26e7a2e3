"""What a terminal would show: the rows that a program goes back to and writes anew, such as progress bars.

No more of a terminal than such programs use: returns, erasing, and moving up and down. Colours and whatever else has no text
are left out; a row that is begun anew is replaced as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

HEIGHT = 100
"""Rows from the lowest one up to which a program can go back, as on a very high screen."""

QUIET = 0.2
"""Seconds after which a row that was left downwards is taken for done, unless the program has gone up before."""

SETTLED = 1.0
"""The same for a program that has gone up: it may write the row again."""

OVER = 5.0
"""Seconds without a move upwards after which nothing more is taken to be moving."""

OFTEN = 5.0
"""Seconds at least between two times that a row comes out which is still changing."""

WIDTH = 256 * 1024
"""Characters of a row; what goes on beyond them is a row of its own."""

_CSI = r"(?:\x1b\[|\x9b)([0-?]*)[ -/]*([@-~])"
_UNSEEN = (
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c\x9d\n]*(?:\x07|\x1b\\|\x9c)"  # titles, links
    r"|\x1b[PX^_][^\x1b\n]*\x1b\\"  # strings for the device
    r"|\x1b[ -/]+[0-~]|\x1b[0-OQ-WYZ\\`-~]"  # character sets, modes
    r"|[\x1b\x9b\x9d]"  # nothing that makes sense
)
_SEQUENCE = re.compile(f"{_CSI}|{_UNSEEN}")
_TOKEN = re.compile(rf"{_CSI}|{_UNSEEN}|(\r+(?![\r\n])|\r*\n|\x08)")
_MOVES = re.compile(r"(?<!\r)\r+(?!\r|\n|\Z)|\x08|(?:\x1b\[|\x9b)(?:[0-?]*[ABDEFGHJf]|[12]K)")
_BEGUN = re.compile(
    r"(?:(?<!\r)\r+|\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]{0,4096}\x1b?|[ -/]+)?|\x9b[0-?]*[ -/]*)\Z"
)

_Mark = TypeVar("_Mark")


def moves(text: str) -> bool:
    """Whether `text` goes back to what was written before it, or within it. A last return may belong to a line's end."""
    return ("\r" in text or "\x1b" in text or "\b" in text or "\x9b" in text) and _MOVES.search(text) is not None


def plain(text: str) -> str:
    """`text` of one line as it is read: without colours, moves and whatever else begins with an escape."""
    if "\x1b" in text or "\x9b" in text or "\x9d" in text:
        return _SEQUENCE.sub("", text)
    return text


def broken_off(text: str) -> bool:
    """Whether `text` ends in the middle of a sequence, or with a return that may belong to a line's end."""
    return _BEGUN.search(text) is not None


@dataclass
class Row(Generic[_Mark]):
    """One row: its text, by whom and when it was written last (`mark`, `at`), and what was last given out of it."""

    text: str
    mark: _Mark
    at: float
    moving: bool = False
    """It was written anew, or erased, or the program went up past it."""

    reached: float = 0.0
    """When that last happened."""

    begun: float = 0.0
    given: str | None = None
    given_at: float = 0.0
    anew: bool = False
    """The next character replaces it."""

    @property
    def shown(self) -> str:
        """What it says; a bar is padded with blanks over what it was before."""
        return self.text.rstrip(" ") if self.moving else self.text


class Screen(Generic[_Mark]):
    """The rows that may still change. What comes out of `due` and `rest` is kept, in this order, as lines.

    A row comes out when it is done. One that takes long comes out as it stands, too: first after five seconds, then each time
    that a tenth of its age has gone by, if it has changed. So who follows sees it move, and an hour leaves some fifty lines.
    """

    def __init__(self) -> None:
        self._rows: list[Row[_Mark]] = []
        self._cursor = 0
        self._begun = ""
        self._up = 0.0
        """When the program last went up; 0 if it never did."""

    def write(self, text: str, mark: _Mark, at: float) -> Iterator[Row[_Mark]]:
        """Take in what was written; gives out what has scrolled off the screen."""
        text = self._begun + text
        cut = _BEGUN.search(text)
        self._begun = cut[0] if cut else ""
        if cut:
            text = text[: cut.start()]
        if not self._rows:
            self._add(mark, at)
        start = 0
        for token in _TOKEN.finditer(text):
            self._put(text[start : token.start()], mark, at)
            start = token.end()
            self._obey(token, mark, at)
        self._put(text[start:], mark, at)
        gone = max(len(self._rows) - HEIGHT, 0)
        rows, self._rows = self._rows[:gone], self._rows[gone:]
        self._cursor = max(self._cursor - gone, 0)
        yield from (_given(row, at) for row in rows if _unsaid(row))

    def due(self, now: float) -> Iterator[Row[_Mark]]:
        """The rows that are done, and those that have been changing for long."""
        for number, row in enumerate(self._rows):
            if not _unsaid(row):
                continue
            wait = SETTLED if self._up else QUIET
            done = number < self._cursor and row.given is None and now - max(row.at, row.reached) >= wait
            if done or (row.moving and now - (row.given_at or row.begun) >= max(OFTEN, (now - row.begun) / 10)):
                yield _given(row, now)

    def passed(self, now: float) -> Iterator[Row[_Mark]]:
        """The rows above the cursor, which are done if the program is at rest."""
        yield from (_given(row, now) for row in self._rows[: self._cursor] if row.given is None and _unsaid(row))

    def rest(self, now: float) -> Iterator[Row[_Mark]]:
        """All rows as they stand: nothing more comes."""
        rows, self._rows, self._cursor, self._begun = self._rows, [], 0, ""
        if rows and not rows[-1].text:
            rows.pop()  # the line that was not begun
        yield from (_given(row, now) for row in rows if _unsaid(row))

    def still(self, now: float) -> bool:
        """Whether nothing moves any more: what comes next is ordinary output."""
        if not self._rows or self._begun:
            return not self._begun
        last = self._rows[-1]
        quiet = now - self._up >= OVER if self._up else now - last.at >= QUIET
        return quiet and self._cursor == len(self._rows) - 1 and not (last.moving and last.shown)

    def _add(self, mark: _Mark, at: float) -> None:
        self._rows.append(Row("", mark, at, begun=at))

    def _put(self, text: str, mark: _Mark, at: float) -> None:
        if not text:
            return
        row = self._rows[self._cursor]
        row.text = text if row.anew else row.text + text
        row.anew, row.mark, row.at = False, mark, at
        if len(row.text) >= WIDTH:
            self._down(mark, at)

    def _obey(self, token: re.Match[str], mark: _Mark, at: float) -> None:
        number, verb, control = token.groups()
        if verb:
            self._sequence(verb, number, mark, at)
        elif control == "\b":
            self._rub_out(1)
        elif control and control.endswith("\n"):
            self._down(mark, at)
        elif control:
            self._anew()

    def _sequence(self, verb: str, number: str, mark: _Mark, at: float) -> None:
        count = int(number[:6]) if number.isdigit() else 0
        match verb:
            case "A" | "F":
                self._go(self._cursor - max(count, 1), at)
            case "B" | "E":
                self._go(self._cursor + max(count, 1), at)
            case "H" | "f":
                self._go(0, at)
            case "G":
                self._anew()
            case "D":
                self._rub_out(max(count, 1))
            case "K" if count or self._rows[self._cursor].anew:
                self._erase(self._rows[self._cursor])
            case "J":
                below = self._rows if count else self._rows[self._cursor + 1 :]
                for row in below:
                    self._erase(row)
                if self._rows[self._cursor].anew:
                    self._erase(self._rows[self._cursor])

    def _down(self, mark: _Mark, at: float) -> None:
        self._cursor += 1
        if self._cursor == len(self._rows):
            self._add(mark, at)
        else:
            self._rows[self._cursor].anew = True

    def _go(self, to: int, at: float) -> None:
        self._cursor, up = min(max(to, 0), len(self._rows) - 1), to < self._cursor
        if up:
            self._up = at
            for row in self._rows[self._cursor :]:
                row.reached, row.moving = at, True
        self._anew()

    def _anew(self) -> None:
        row = self._rows[self._cursor]
        row.anew = True
        row.moving = True

    def _rub_out(self, count: int) -> None:
        row = self._rows[self._cursor]
        row.text, row.moving = row.text[:-count], True

    def _erase(self, row: Row[_Mark]) -> None:
        row.text, row.moving = "", True


def _unsaid(row: Row[_Mark]) -> bool:
    """Whether the row says something that was not given out; a bar that has been wiped away says nothing."""
    return row.shown != row.given and bool(row.shown or not row.moving)


def _given(row: Row[_Mark], now: float) -> Row[_Mark]:
    row.given, row.given_at = row.shown, now
    return row
