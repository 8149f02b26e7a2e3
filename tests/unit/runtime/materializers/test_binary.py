from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


class Sub(bytes):
    pass


@pytest.mark.parametrize("value", [b"", b"\0\xff", bytes(3_000_000)], ids=len)
def test_bytes_come_back(there_and_back: Callable[[Any, str], Any], value: bytes) -> None:
    assert there_and_back(value, "binary") == value


def test_a_subclass_is_more_than_its_bytes(shelf: Any) -> None:
    assert shelf.save(Sub(b"a")).materializer == "pickle"


def test_the_facts(shelf: Any) -> None:
    assert shelf.save(b"\x01\x02").metadata == {"length": 2, "preview": "01 02"}
