"""The tests that docs/promises.md names: none of them may be skipped where everything is tested."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).parents[1] / "docs" / "promises.md"

NAMED = tuple(dict.fromkeys(re.findall(r"^- `(tests/[^`]+)`$", _PAGE.read_text(), re.MULTILINE)))


def shows(nodeid: str) -> bool:
    """Whether a promise rests on this test, whichever of its parameters it was called with."""
    return nodeid.partition("[")[0] in NAMED
