"""What is JSON, and what is refused although many readers take it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model.strict_json import loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.booleans())
def test_every_value_of_json_comes_back(value: object, escaped: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"x": NaN}', "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "Infinity"),
        (b'{"x": 1e400}', "out of range"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"p": {"lr": 1, "lr": 2}}', "twice"),
        (b'{"\\ud800": 1}', "half a character"),
        (b'{"x": ["\\ud800"]}', "half a character"),
        (b"[" * 100_000, "deep"),
        (b"1" * 5000, "digits"),
        (b"\xff", "UTF-8"),
        (b"{", "Expecting"),
        (b"", "Expecting"),
        (b"\xef\xbb\xbf{}", "BOM"),
    ],
)
def test_everything_else_is_refused_with_the_reason(body: bytes, words: str) -> None:
    with pytest.raises(json.JSONDecodeError, match=words):
        loads(body)
