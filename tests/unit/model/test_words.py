from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.model.words import MOST, sought, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Nightly-2026 train_v2.1", ("nightly", "2026", "train", "v2", "1")),
        ("train train", ("train",)),
        ("Straße ÉTÉ", ("strasse", "été")),
        ("--- ..", ()),
    ],
)
def test_what_is_a_word(text: str, words: tuple[str, ...]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize("text", ["", " - ", " ".join(f"w{number}" for number in range(MOST + 1))])
def test_a_search_has_a_word_and_not_too_many(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        sought(text, at="/where/q")
    assert [one["pointer"] for one in refused.value.errors] == ["/where/q"]


@given(st.text())
def test_words_of_words_are_the_same(text: str) -> None:
    words = words_of(text)
    assert words_of(" ".join(words)) == words
