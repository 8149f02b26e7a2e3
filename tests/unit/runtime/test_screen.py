from __future__ import annotations

import pytest

from penstock.runtime.screen import HEIGHT, OFTEN, OVER, QUIET, SETTLED, WIDTH, Screen, broken_off, moves, plain


def screen(*pieces: str, at: float = 0.0) -> Screen[str]:
    made: Screen[str] = Screen()
    for text in pieces:
        assert list(made.write(text, "mark", at)) == []
    return made


def rest(made: Screen[str]) -> list[str]:
    return [row.shown for row in made.rest(0.0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo", ["one", "two"]),
        ("one\ntwo\n", ["one", "two"]),
        ("one\n\ntwo", ["one", "", "two"]),
        ("one\r\ntwo\r\n", ["one", "two"]),
        ("long text\rshort", ["short"]),
        ("\r50%      \r", ["50%"]),
        ("a\nb\nc\x1b[2A\rA\x1b[1B\rB", ["A", "B", "c"]),
        ("a\nb\x1b[9A\rA\x1b[9B\rB", ["A", "B"]),
        ("a\nb\x1b[FA\x1b[EB", ["A", "B"]),
        ("a\nb\x1b[H\x1b[Jnew", ["new"]),
        ("a\nb\x1b[A\r\x1b[J", []),
        ("a\nb\x1b[2J", []),
        ("abc\x1b[2Dx", ["ax"]),
        ("abc\x1b[Gx", ["x"]),
        ("abc\x1b[K", ["abc"]),
        ("abc\x1b[1K", []),
        ("abc\r\x1b[K", []),
        ("\x1b[38;2;1;2;3mred\x1b[0m", ["red"]),
        ("\x1b(B\x1b7\x1b=text\x1bPstring\x1b\\", ["text"]),
    ],
)
def test_what_a_terminal_would_show(text: str, expected: list[str]) -> None:
    assert rest(screen(text)) == expected
    assert rest(screen(*text)) == expected


@pytest.mark.parametrize("text", ["\rx", "x\b", "\x1b[A", "\x1b[2K", "\x9b3A", "a\rb\n"])
def test_what_moves(text: str) -> None:
    assert moves(text)


@pytest.mark.parametrize("text", ["", "x\r", "x\r\n", "\x1b[31mx\x1b[0m", "\x1b[K", "\x1b]0;title\x07", "\x1b"])
def test_what_does_not_move(text: str) -> None:
    assert not moves(text)


def test_what_is_not_text_is_left_out() -> None:
    assert plain("no escape \x07 here") == "no escape \x07 here"
    assert plain("\x1b]8;;https://example.org\x07a\x1b]8;;\x07\x9b1mb\x1b") == "ab"


@pytest.mark.parametrize("text", ["a\r", "a\x1b", "a\x1b[", "a\x1b[38;5", "a\x1b]0;title", "a\x9b3"])
def test_what_goes_on_in_the_next_piece(text: str) -> None:
    assert broken_off(text)


@pytest.mark.parametrize("text", ["", "a", "a\x1b[0m", "a\x1b]0;title\x07", "\ra"])
def test_what_stands_for_itself(text: str) -> None:
    assert not broken_off(text)


def test_a_row_is_done_when_it_was_left_for_a_while() -> None:
    made = screen("\r9\n", at=1.0)
    assert list(made.due(1.0)) == []
    assert [(row.shown, row.mark, row.at) for row in made.due(1.1 + QUIET)] == [("9", "mark", 1.0)]
    assert list(made.due(100.0)) == []
    assert made.still(1.1 + QUIET)


def test_who_goes_up_is_given_more_time() -> None:
    made = screen("a\nb\n\x1b[2A\rA\n\n", at=1.0)
    assert list(made.due(1.1 + QUIET)) == []
    assert [row.shown for row in made.due(1.0 + SETTLED)] == ["A", "b"]
    assert not made.still(1.0 + SETTLED)
    assert made.still(1.0 + OVER)


def test_a_bar_is_given_on_its_way_and_is_not_still() -> None:
    made = screen("\r1%", at=1.0)
    assert list(made.due(0.9 + OFTEN)) == []
    assert [row.shown for row in made.due(1.0 + OFTEN)] == ["1%"]
    assert not made.still(1000.0)


def test_rows_scroll_away() -> None:
    made: Screen[str] = Screen()
    gone = [row.shown for row in made.write("".join(f"{number}\n" for number in range(HEIGHT + 20)), "mark", 0.0)]
    assert gone == [str(number) for number in range(21)]
    assert rest(made) == [str(number) for number in range(21, HEIGHT + 20)]


def test_a_row_has_an_end() -> None:
    made = screen("\r", *["x" * (WIDTH // 4)] * 5)
    assert [len(text) for text in rest(made)] == [WIDTH, WIDTH // 4]
