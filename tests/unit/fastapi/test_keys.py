from __future__ import annotations

import pytest
from fastapi import Request

from penstock.errors import InvalidInput, Unauthenticated
from penstock.fastapi.keys import Keys

KEY = "a key that is long enough"


def request(key: bytes | None, header: bytes = b"x-api-key") -> Request:
    return Request({"type": "http", "headers": [] if key is None else [(header, key)]})


def test_a_good_key_passes_under_the_header_that_was_chosen() -> None:
    Keys(KEY, "X-API-Key").check(request(KEY.encode()))
    keys = Keys(["another key that is good", KEY], "Our-Key")
    keys.check(request(KEY.encode(), b"our-key"))
    with pytest.raises(Unauthenticated, match="'Our-Key'"):
        keys.check(request(KEY.encode()))


@pytest.mark.parametrize("shown", [None, b"", KEY.encode()[:-1], KEY.encode() + b" ", b"\xff\xfe"])
def test_any_other_is_refused_without_its_text(shown: bytes | None) -> None:
    with pytest.raises(Unauthenticated) as caught:
        Keys(KEY, "X-API-Key").check(request(shown))
    assert KEY[:-1] not in str(caught.value)


@pytest.mark.parametrize("keys", ["", "short", [], [KEY, "short"]])
def test_keys_that_protect_nothing_are_refused_at_once(keys: str | list[str]) -> None:
    with pytest.raises(InvalidInput, match="at least 16 characters"):
        Keys(keys, "X-API-Key")


def test_none_leaves_it_to_the_application() -> None:
    keys = Keys(None, "X-API-Key")
    assert keys.open
    keys.check(request(None))


def test_the_text_of_a_key_is_not_kept() -> None:
    assert KEY not in repr(vars(Keys(KEY, "X-API-Key")))
