"""The terminal of the person who called a pipeline: all runs of a process share it, and Penstock has few words of its own."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TextIO

_open = False
"""The cursor stands within a line: somebody's bar, or text that was not ended."""

_last = 0.0
"""When anything was shown."""


def show(terminal: TextIO | None, text: str) -> None:
    """Show output as it comes, with whatever it does to the cursor."""
    global _open
    _open = not text.endswith("\n")
    _print(terminal, text)


def show_line(terminal: TextIO | None, text: str) -> None:
    """Show one line, below what somebody has begun and not ended."""
    global _open
    if terminal is not None and _is_screen(terminal):
        # What is left of bars below the cursor would shine through.
        text = f"\n\x1b[J{text}" if _open else f"\x1b[J{text}"
    _open = False
    _print(terminal, text + "\n")


def silence() -> float:
    """Seconds since anything was shown."""
    return time.monotonic() - _last


def _is_screen(terminal: TextIO) -> bool:
    with suppress(OSError, ValueError):  # gone, or closed
        return terminal.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return False


def _print(terminal: TextIO | None, text: str) -> None:
    """That it cannot be shown does not matter to the run."""
    global _last
    _last = time.monotonic()
    if terminal is None:
        return
    with suppress(OSError, ValueError):  # gone, or closed
        try:
            terminal.write(text)
        except UnicodeEncodeError:
            encoding = terminal.encoding or "ascii"
            terminal.write(text.encode(encoding, "replace").decode(encoding))
