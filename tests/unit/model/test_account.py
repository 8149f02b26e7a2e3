"""Keys: their form, their checksum, and what is stored of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model.account import ROLES, Permission, new_key_text, parse_key_text


def test_a_key_can_be_read_back() -> None:
    text = new_key_text()
    assert parse_key_text(str(text)) == text
    assert text.secret not in text.digest()


@given(position=st.integers(4, 57), letter=st.sampled_from("0Az9"))
def test_a_typing_error_is_seen_without_a_look_up(position: int, letter: str) -> None:
    key = str(new_key_text())
    broken = key[:position] + letter + key[position + 1 :]
    if broken != key:
        assert parse_key_text(broken) is None


@pytest.mark.parametrize("text", ["", "psk_", "psk_a_b", "x" * 60, "ZENKEY_abc", "psk_" + "0" * 55])
def test_other_texts_are_no_keys(text: str) -> None:
    assert parse_key_text(text) is None


def test_no_account_may_report_for_runs() -> None:
    assert all(Permission.EXECUTE not in permissions for permissions in ROLES.values())
