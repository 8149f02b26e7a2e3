"""What hides secrets in texts, also where a text comes in pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

SHORTEST = 4
"""Texts of fewer characters are left: they are in everything."""

STARS = "***"

_CUT = re.compile(r"(\n\.{3} \d+ bytes left out \.{3}\n|…|\.{3,})")


def left_out(count: int) -> str:
    """What stands in a text in the place of so many bytes of its middle."""
    return f"\n... {count} bytes left out ...\n"


class Mask:
    """Puts `***` in the place of secrets, and of what is left of one beside a mark that something was left out (`…`, `...`).

    Secrets may be added while it is in use, by other threads too.
    """

    def __init__(self) -> None:
        self._pieces: tuple[str, ...] = ()
        """Secrets in all their spellings, the longest first."""

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, values: Iterable[str]) -> None:
        """Hide these from now on. Each line of a longer one is hidden by itself."""
        pieces = {piece for value in values for piece in (value, *value.splitlines()) if len(piece) >= SHORTEST}
        spelled = {one for piece in pieces for one in _spellings(piece)}
        self._pieces = tuple(sorted({*self._pieces, *spelled}, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        for piece in self._pieces:
            text = text.replace(piece, STARS)
        return self._without_remains(text) if self._pieces and ("…" in text or "..." in text) else text

    def begun(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a secret whose rest is still to come."""
        longest = 0
        for piece in self._pieces:
            for length in range(min(len(piece) - 1, len(text)), longest, -1):
                if text.endswith(piece[:length]):
                    longest = length
                    break
        return longest

    def _ended(self, text: str) -> int:
        """How many characters at the beginning of `text` may be the end of a secret whose beginning is gone."""
        longest = 0
        for piece in self._pieces:
            for length in range(min(len(piece) - 1, len(text)), longest, -1):
                if text.startswith(piece[-length:]):
                    longest = length
                    break
        return longest

    def _without_remains(self, text: str) -> str:
        """Others cut texts before they come here: secrets lose their ends, and are found as a whole no more."""
        parts = _CUT.split(text)  # texts and marks in turn
        for place in range(0, len(parts), 2):
            part = parts[place]
            if place > 0 and (length := self._ended(part)) >= SHORTEST:
                part = STARS + part[length:]
            if place < len(parts) - 1 and (length := self.begun(part)) >= SHORTEST:
                part = part[:-length] + STARS
            parts[place] = part
        return "".join(parts)


def _spellings(text: str) -> tuple[str, ...]:
    """How a text may stand in others: as it is, inside a `repr` or JSON, and as the bytes that a preview shows."""
    return text, repr(text)[1:-1], json.dumps(text)[1:-1], text.encode(errors="replace").hex(" ")
