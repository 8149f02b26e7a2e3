from __future__ import annotations

import io
import os
from collections.abc import Iterator

import pytest

from penstock.runtime import terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def at_the_begin_of_a_line() -> Iterator[None]:
    terminal.show(None, "\n")
    yield
    terminal.show(None, "\n")


def test_a_line_begins_below_what_was_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    terminal.show(screen, "\r50%")
    terminal.show_line(screen, "a line")
    terminal.show_line(screen, "another")
    assert screen.getvalue() == "\r50%\n\x1b[Ja line\n\x1b[Janother\n"


def test_a_file_gets_what_was_written_and_no_more() -> None:
    file = io.StringIO()
    terminal.show(file, "\r50%")
    terminal.show_line(file, "a line")
    assert file.getvalue() == "\r50%a line\n"


def test_a_terminal_that_can_do_nothing_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    terminal.show_line(screen, "a line")
    assert screen.getvalue() == "a line\n"


def test_nobody_there_is_no_trouble() -> None:
    closed = Screen()
    closed.close()
    for gone in (None, closed):
        terminal.show(gone, "text")
        terminal.show_line(gone, "a line")


def test_letters_that_the_terminal_has_not_are_replaced() -> None:
    raw = io.BytesIO()
    narrow = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    terminal.show_line(narrow, "caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert raw.getvalue() == b"caf?" + os.linesep.encode()


def test_silence_is_counted_from_the_last_word() -> None:
    terminal.show(None, "text")
    assert terminal.silence() < 10
