from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import hypothesis
import pytest
from hypothesis import strategies

from penstock.runtime import lines
from penstock.runtime.lines import LINE_LIMIT, STEP_LIMIT, Assembler, End, Origin, Piece, Stream, missed, storable
from penstock.runtime.screen import QUIET

STEP = "train"


def texts(pieces: Iterable[str], *, end: bool = True) -> list[str]:
    """What becomes of one thread's writes."""
    origin, assembler = Origin(STEP), Assembler()
    found = [line for text in pieces for line in assembler.feed(Piece(0.0, origin, "stdout", 1, text))]
    return [line.text for line in found + (list(assembler.end()) if end else [])]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a\n"], ["a"]),
        (["a", "\n"], ["a"]),
        (["a\nb\n", "c"], ["a", "b", "c"]),
        (["\n", "\n"], ["", ""]),
        (["a\r\n", "b\r", "\n"], ["a", "b"]),
        (["\r 0%", "\r50%", "\r99%\n"], ["99%"]),
        (["\r 0%", "\r50%"], ["50%"]),
        (["50%\r", "60%\r", "done\n"], ["done"]),
        (["50%\r"], ["50%"]),
        (["\r", "\n"], [""]),
        (["50%", "\r   \r"], []),
        (["a\x1b[1;31mb\x1b[0m\n"], ["ab"]),
        (["a\x1b", "[1;3", "1mb\n"], ["ab"]),
        (["\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x07\n"], ["link"]),
        (["match\x1b[K\n"], ["match"]),
        (["\r50%", "\x1b[2K", "\rdone\n"], ["done"]),
        (["|", "\b/", "\b-", "\bok\n"], ["ok"]),
        (["\x1b\x1b[A[2Jx\n"], ["[2Jx"]),
        (["before\n\r1", "\r2", "\n", "after\n"], ["before", "2", "after"]),
        (["a\x0bb\u2028c\n"], ["a\x0bb\u2028c"]),
        (["", ""], []),
    ],
)
def test_lines(pieces: list[str], expected: list[str]) -> None:
    assert texts(pieces) == expected


@hypothesis.given(
    strategies.lists(strategies.sampled_from(["a", "b", "\n", "\r", "\b", "\x1b[32m", "\x1b[K", "\x1b]0;t\x07"])).map(
        "".join
    ),
    strategies.lists(strategies.integers(0, 60)),
)
def test_how_it_was_cut_makes_no_difference(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:stop] for start, stop in itertools.pairwise(places)]
    assert texts(pieces) == texts([text])


@hypothesis.given(
    strategies.lists(strategies.sampled_from(["a\n", "\r", "\x1b", "[", "A", "2", "K", "J", "\x9b", "\b", "m", "]"]))
)
def test_no_line_moves_the_terminal_of_its_reader(pieces: list[str]) -> None:
    assert not set("".join(texts(pieces))) & set("\x1b\x9b\x9d\r\b")


@hypothesis.given(strategies.text(strategies.characters(exclude_characters="\n\r\b\x1b\x9b\x9d")))
def test_no_character_is_lost_that_can_be_kept(text: str) -> None:
    assert texts([text + "\n"]) == [storable(text)]
    json.dumps(storable(text)).encode()
    assert "\0" not in storable(text).encode().decode()


def test_what_cannot_be_stored_is_replaced() -> None:
    assert storable("a\0b") == "a\ufffdb"
    assert storable("\ud800é\0\udfff") == "\ufffdé\ufffd\ufffd"
    assert storable("\ud83d\ude00") == "\N{GRINNING FACE}"


def test_a_long_line_goes_on_in_the_next() -> None:
    found = texts(["x" * (2 * LINE_LIMIT + 5) + "\n", "after\n"])
    assert [len(text) for text in found] == [LINE_LIMIT, LINE_LIMIT, 5, 5]
    assert texts(["x" * LINE_LIMIT], end=False) == []
    assert len(texts(["x" * LINE_LIMIT, "x"], end=False)) == 1


def test_a_long_line_of_wide_characters_stays_within_the_limit() -> None:
    text = "\N{GRINNING FACE}" * LINE_LIMIT
    found = texts([text])
    assert "".join(found) == text
    assert max(len(one.encode()) for one in found) <= LINE_LIMIT
    assert texts(["é" * 20_000]) == ["é" * 20_000]


def test_threads_and_streams_are_not_mixed_within_a_line() -> None:
    origin, assembler = Origin(STEP), Assembler()
    pieces = [
        Piece(1.0, origin, "stdout", 1, "one "),
        Piece(2.0, origin, "stdout", 2, "other "),
        Piece(3.0, origin, "stderr", 1, "error "),
        Piece(4.0, Origin("else"), "stdout", 1, "elsewhere "),
        Piece(5.0, origin, "stdout", 1, "ends\n"),
        Piece(6.0, origin, "stdout", 2, "ends too\n"),
    ]
    found = [line for piece in pieces for line in assembler.feed(piece)]
    assert [(line.text, line.stream, line.at.timestamp()) for line in found] == [
        ("one ends", "stdout", 5.0),
        ("other ends too", "stdout", 6.0),
    ]
    assert list(assembler.feed(Piece(7.0, origin, "stdout", 3, "third"))) == []
    assert list(assembler.end(End(origin, 4))) == []
    assert [line.text for line in assembler.end(End(origin, 3))] == ["third"]
    assert [(line.text, line.step) for line in assembler.end(End(origin))] == [("error ", STEP)]
    assert [(line.text, line.step) for line in assembler.end()] == [("elsewhere ", "else")]
    assert list(assembler.end()) == []


def test_a_line_that_nobody_ends_is_kept_after_a_while() -> None:
    origin, assembler = Origin(None), Assembler()
    assert not assembler.waits
    assert list(assembler.feed(Piece(10.0, origin, "stdout", 1, "Loading ..."))) == []
    assert assembler.waits
    assert list(assembler.overdue(10.0 + QUIET / 2)) == []
    assert [line.text for line in assembler.overdue(10.1 + QUIET)] == ["Loading ..."]
    assert not assembler.waits
    assert [line.text for line in assembler.feed(Piece(11.0, origin, "stdout", 1, " done\n"))] == [" done"]


@pytest.mark.parametrize("begin", ["", "\r"])
@pytest.mark.parametrize(
    "rude", ["\r", "\b", "\n", "\x1b[", "\x1b]", "\x9d", "\x1bP", "\x1b[9", "\x1b[A", "\x1b[2J", "\r\n\x1b[A"]
)
def test_nothing_that_is_printed_takes_for_ever(begin: str, rude: str) -> None:
    text = begin + rude * 100_000 + "\r" * 100_000 + "\nx" + "9" * 10_000 + "A"
    assert texts([text])[-1].endswith("9A")


def test_a_number_without_end_is_no_trouble() -> None:
    assert texts(["above\n", "\rbelow\x1b[" + "9" * 5000 + "A\n"]) == ["above", "below"]


class Bars:
    """What a program does with several bars, second by second, and what is kept of it."""

    def __init__(self, stream: Stream = "stderr") -> None:
        self.origin, self.assembler, self.stream = Origin("train"), Assembler(), stream
        self.kept: list[str] = []

    def write(self, at: float, *pieces: str, source: int = 1, stream: Stream | None = None) -> list[str]:
        """The lines that come of it, until a tenth of a second later."""
        found = [
            line
            for text in pieces
            for line in self.assembler.feed(Piece(at, self.origin, stream or self.stream, source, text))
        ]
        found += self.assembler.overdue(at + 0.1)
        return [line.text for line in found]

    def end(self) -> list[str]:
        return [line.text for line in self.assembler.end(End(self.origin))]


def test_a_progress_bar_may_take_its_time() -> None:
    bars = Bars()
    for at in range(4):
        assert bars.write(at, f"\r{at}") == []
    assert bars.write(4.0, "\r4", "\n") == []
    assert bars.write(4.0 + QUIET) == ["4"]
    assert bars.end() == []


def test_of_a_bar_that_takes_long_some_states_are_kept() -> None:
    bars = Bars()
    found = [(at, text) for at in range(3600) for text in bars.write(at, f"\r{at} s")]
    assert found[:2] == [(5, "5 s"), (10, "10 s")]
    assert len(found) < 70
    assert all(later - before <= max(6, later / 9) for (before, _), (later, _) in itertools.pairwise(found))
    assert bars.end() == ["3599 s"]


def test_a_bar_that_stands_still_is_kept_once() -> None:
    bars = Bars()
    bars.write(0.0, "\r50%")
    assert [text for at in range(1, 100) for text in bars.write(at)] == ["50%"]
    assert bars.end() == []


def test_bars_below_each_other_as_tqdm_draws_them() -> None:
    bars = Bars()
    assert bars.write(0.0, "\router 0", "\n", "\rinner 0", "\x1b[A") == []
    for at in range(1, 4):
        assert bars.write(at, "\n", f"\rinner {at}", "\x1b[A", f"\router {at}") == []
    assert bars.write(4.0, "\n", "\r       ", "\x1b[A", "\router 4", "\n") == []
    assert bars.write(4.2, "done\n", stream="stdout") == ["outer 4", "done"]
    assert bars.end() == []


def test_bars_of_threads_share_their_rows() -> None:
    bars = Bars()
    for at in range(4):
        assert bars.write(at, f"\rone {at}", source=1) == []
        assert bars.write(at, "\n", f"\rtwo {at}", "\x1b[A", source=2) == []
    assert bars.end() == ["one 3", "two 3"]


def test_processes_have_rows_of_their_own() -> None:
    bars = Bars()
    for at in range(4):
        assert bars.write(at, f"\rone {at}", source=-1) == []
        assert bars.write(at, f"\rtwo {at}", source=-2) == []
    assert [line.text for line in bars.assembler.end(End(bars.origin, -2))] == ["two 3"]
    assert bars.end() == ["one 3"]


def test_bars_that_are_drawn_again_from_the_top_as_rich_does() -> None:
    bars = Bars("stdout")
    bars.write(0.0, "\x1b[?25l", "load 0\nfit 0")
    for at in range(1, 5):
        again = "\r\x1b[2K\x1b[1A\x1b[2K"
        above = "a word\n" if at == 2 else ""
        found = bars.write(at / 10, f"{again}{above}\x1b[31mload {at}\x1b[0m\nfit {at}")
        assert found == []
    assert bars.write(0.5, "\n", "\x1b[?25h", "after\n") == []
    assert bars.write(1.6) == ["a word", "load 4", "fit 4", "after"]
    assert bars.write(9.0) == []
    assert not bars.assembler.waits
    assert bars.write(10.0, "plain again\n") == ["plain again"]


def test_rows_that_are_written_again_after_they_were_kept() -> None:
    bars = Bars()
    bars.write(0.0, "\ra: pulling\n", "\rb: pulling\n", "\x1b[2A\ra: waiting\x1b[2B")
    assert bars.write(2.0) == ["a: waiting", "b: pulling"]
    assert bars.write(3.0, "\x1b[1A\rb: done\x1b[1B") == []
    assert bars.end() == ["b: done"]


def test_what_has_scrolled_away_is_kept() -> None:
    bars = Bars()
    found = bars.write(0.0, "\rbar", *("\n" + str(number) for number in range(300)))
    assert found[:2] == ["bar", "0"]
    assert found + bars.end() == ["bar", *map(str, range(300))]


def test_blank_lines_are_lines_unless_something_is_written_there() -> None:
    assert texts(["\n", "\n", "a\n", "\n"]) == ["", "", "a", ""]
    assert texts(["\n", "\n", "\rthird bar", "\x1b[A\x1b[A"]) == ["third bar"]


def test_a_step_has_a_limit_and_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "STEP_LIMIT", 1000)
    found = texts(["x" * 400 + "\n"] * 5)
    assert [len(text) for text in found[:2]] == [400, 400]
    assert "not kept" in found[2]
    assert len(found) == 3


def test_the_limit_counts_bytes_and_each_step_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "STEP_LIMIT", 1000)
    assert "not kept" in texts(["\N{GRINNING FACE}" * 100 + "\n"] * 3)[2]
    one, other, assembler = Origin("one"), Origin("other"), Assembler()
    assert len(list(assembler.feed(Piece(0.0, one, "stdout", 1, "x" * 999 + "\n")))) == 1
    assert len(list(assembler.feed(Piece(0.0, other, "stdout", 1, "x" * 999 + "\n")))) == 1
    assert len(list(assembler.feed(Piece(0.0, one, "stdout", 1, "x\n")))) == 1
    assert list(assembler.feed(Piece(0.0, one, "stdout", 1, "x\nrest"))) == []
    assert list(assembler.end()) == []


def test_short_lines_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "STEP_LIMIT", 10 * lines.LINE_COST)
    assert len(texts(["\n"] * 100)) == 11


def test_the_limit_is_ten_megabytes() -> None:
    assert STEP_LIMIT == 10 * 1024 * 1024
    assert "10 MB" in texts(["x" * 60_000 + "\n"] * 200)[-1]


def test_what_was_missed_is_said() -> None:
    line = missed(Piece(0.0, Origin(STEP), "stderr", 1, ""))
    assert (line.step, line.stream) == (STEP, "stderr")
    assert "missing" in line.text
