"""Secrets in output: hidden before anything is cut, however it was written."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

import pytest
from pydantic import TypeAdapter, ValidationError

from penstock.runtime.lines import LINE_LIMIT, Assembler, Origin, Piece
from penstock.runtime.mask import SHORTEST, Mask, left_out
from penstock.runtime.screen import QUIET

SECRET = "correct horse battery"


def mask(*secrets: str) -> Mask:
    made = Mask()
    made.add(secrets or [SECRET])
    return made


def lines(pieces: Iterable[str], *secrets: str, pause: float = 0.0) -> list[str]:
    assembler, origin, at = Assembler(mask(*secrets)), Origin("a"), time.time()
    found = []
    for text in pieces:
        found += assembler.feed(Piece(at, origin, "stdout", 1, text))
        at += pause
        found += assembler.overdue(at)
    return [line.text for line in (*found, *assembler.end())]


@pytest.mark.parametrize("before", range(LINE_LIMIT - len(SECRET) - 2, LINE_LIMIT + 3))
def test_a_long_line_is_not_cut_inside_a_secret(before: int) -> None:
    kept = lines(["x" * before + SECRET + "y" * LINE_LIMIT + "\n"])
    assert not any(SECRET[:5] in line or SECRET[-5:] in line for line in kept)
    assert "".join(kept) == "x" * before + "***" + "y" * LINE_LIMIT


@pytest.mark.parametrize("cut", range(1, len(SECRET)))
def test_nor_is_one_that_comes_in_two_pieces_at_the_limit(cut: int) -> None:
    start = "x" * (LINE_LIMIT - cut + 1)
    kept = lines([start + SECRET[:cut], SECRET[cut:] + "y" * LINE_LIMIT + "\n"])
    assert "".join(kept) == start + "***" + "y" * LINE_LIMIT


@pytest.mark.parametrize("cut", range(4, len(SECRET)))
def test_half_a_secret_waits_for_the_other_half(cut: int) -> None:
    assert lines(["it is " + SECRET[:cut], SECRET[cut:] + "!\n"], pause=QUIET * 2) == ["it is ***!"]


def test_what_only_begins_like_one_is_kept_as_it_is() -> None:
    assert lines(["a corral", " and a horse\n"]) == ["a corral and a horse"]
    assert lines(["correct ho"]) == ["correct ho"]


def test_pieces_of_any_size_show_nothing() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    secrets = ["aaab", "abab", "line one\nline two", 'q"uote\\', SECRET]
    for _ in range(200):
        text = "".join(chance.choice([*"ab ", "\n", *secrets]) for _ in range(60)) + "\n"
        cuts = sorted(chance.sample(range(len(text)), 12))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        kept = "\n".join(lines(pieces, *secrets))
        for secret in secrets:
            assert not any(part in kept for part in secret.split("\n")), (secret, pieces)


def test_short_texts_are_left() -> None:
    assert mask("abc")("abcabc") == "abcabc"


def test_spellings() -> None:
    secret = 'pa"ss\nwörd'
    hidden = mask(secret)
    for spelled in (secret, repr(secret), 'pa"ss', "w\\u00f6rd", "wörd"):
        assert "wörd" not in hidden(spelled)
        assert 'pa"ss' not in hidden(spelled)


@pytest.mark.parametrize("kept", range(1, len(SECRET)))
@pytest.mark.parametrize("mark", ["…", "...", ".....", left_out(12)])
def test_what_others_have_left_of_one_is_hidden_beside_the_mark(kept: int, mark: str) -> None:
    hidden = mask()
    assert hidden(f"it is {SECRET[:kept]}{mark}") == f"it is {SECRET[:kept] if kept < SHORTEST else '***'}{mark}"
    assert hidden(f"{mark}{SECRET[-kept:]}!") == f"{mark}{SECRET[-kept:] if kept < SHORTEST else '***'}!"


def test_what_pydantic_says_of_a_value() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(int).validate_python(f"postgresql://me:{SECRET}@db.example.com/{'x' * 80}")
    said = mask()(str(caught.value))
    assert "input_value='postgresql://me:***..." in said
    assert not any(part in said for part in SECRET.split())


def test_texts_that_were_cut_elsewhere_stay_as_they_are() -> None:
    for text in ("wait...", "a…b…c", f"{left_out(3)}x", "...", "ends like a battery, correctly ... so"):
        assert mask()(text) == text


def test_a_preview_of_bytes() -> None:
    assert mask()(SECRET.encode().hex(" ")) == "***"


def test_a_line_of_marks_takes_no_time() -> None:
    begun = time.process_time()
    mask(*(f"{SECRET} {number}" for number in range(20)))("a..." * (LINE_LIMIT // 4))
    assert time.process_time() - begun < 5
