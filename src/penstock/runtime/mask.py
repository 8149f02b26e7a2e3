"""What hides secrets in texts, also where a text comes in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable

SHORTEST = 4
"""Texts of fewer characters are left: they are in everything."""

STARS = "***"


class Mask:
    """Puts `***` in the place of secrets. Secrets may be added while it is in use, by other threads too."""

    def __init__(self) -> None:
        self._pieces: tuple[str, ...] = ()
        """Secrets in all their spellings, the longest first."""

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, values: Iterable[str]) -> None:
        """Hide these from now on. Each line of a longer one is hidden by itself."""
        pieces = {piece for value in values for piece in (value, *value.splitlines()) if len(piece) >= SHORTEST}
        spelled = {one for piece in pieces for one in (piece, repr(piece)[1:-1], json.dumps(piece)[1:-1])}
        self._pieces = tuple(sorted({*self._pieces, *spelled}, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        for piece in self._pieces:
            text = text.replace(piece, STARS)
        return text

    def begun(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a secret whose rest is still to come."""
        longest = 0
        for piece in self._pieces:
            for length in range(min(len(piece) - 1, len(text)), longest, -1):
                if text.endswith(piece[:length]):
                    longest = length
                    break
        return longest
