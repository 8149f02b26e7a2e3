from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import hypothesis
import pytest
from hypothesis import strategies

from penstock.runtime import lines
from penstock.runtime.lines import LINE_LIMIT, QUIET, STEP_LIMIT, Assembler, End, Origin, Piece, missed, storable

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
        (["before\n\r1", "\r2", "\n", "after\n"], ["before", "2", "after"]),
        (["a\x0bb\u2028c\n"], ["a\x0bb\u2028c"]),
        (["", ""], []),
    ],
)
def test_lines(pieces: list[str], expected: list[str]) -> None:
    assert texts(pieces) == expected


@hypothesis.given(strategies.text(strategies.sampled_from("ab\n\r")), strategies.lists(strategies.integers(0, 30)))
def test_how_it_was_cut_makes_no_difference(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:stop] for start, stop in itertools.pairwise(places)]
    assert texts(pieces) == texts([text])


@hypothesis.given(strategies.text(strategies.characters(exclude_characters="\n\r")))
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


def test_a_progress_bar_may_take_its_time() -> None:
    origin, assembler = Origin(None), Assembler()
    for at in range(10):
        assert list(assembler.feed(Piece(float(at), origin, "stderr", 1, f"\r{at}"))) == []
        assert list(assembler.overdue(at + 0.9)) == []
    assert not assembler.waits
    assert [line.text for line in assembler.feed(Piece(11.0, origin, "stderr", 1, "\n"))] == ["9"]


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
