"""Words: what a search looks for, and what it finds."""

from __future__ import annotations

import re

from penstock.errors import InvalidInput, fault

MOST = 8
"""Words in one search."""

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, each once, without regard to capitals: what stands between blanks, dashes, dots and the like."""
    return tuple(dict.fromkeys(_WORD.findall(text.casefold())))


def sought(text: str, *, at: str = "/query/q") -> tuple[str, ...]:
    """The words that a search asks for. Raises `InvalidInput` if there are none, or more than `MOST`."""
    words = words_of(text)
    if not 1 <= len(words) <= MOST:
        told = "There is no word in it." if not words else f"It has {len(words)} words; {MOST} are looked for at most."
        raise InvalidInput(f"{text[:80]!r} cannot be searched for.", errors=[fault(at, told)])
    return words
