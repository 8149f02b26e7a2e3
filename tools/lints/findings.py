"""What a rule reports, and the comments that rules read."""

from __future__ import annotations

from dataclasses import dataclass

from tools.sources import Source


@dataclass(frozen=True)
class Finding:
    """One breach of a rule."""

    line: int
    what: str


def comment_at(source: Source, line: int) -> str:
    """The comment on this line or alone on the line above it; empty where there is none."""
    own = _comment(source.lines[line - 1])
    if own or line == 1:
        return own
    above = source.lines[line - 2].strip()
    return _comment(above) if above.startswith("#") else ""


def _comment(text: str) -> str:
    _, mark, comment = text.partition("#")
    comment = comment.strip()
    # A directive to a tool says what is silenced, not why.
    directive = comment.startswith(("noqa", "type:", "pragma", "fmt:"))
    return comment if mark and not directive else ""
