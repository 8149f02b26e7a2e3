from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("value", ["", "a", "é\r\n\t\0\u2028", "x" * 3_000_000], ids=len)
def test_text_comes_back(there_and_back: Callable[[Any, str], Any], value: str) -> None:
    assert there_and_back(value, "text") == value


def test_the_facts_are_storable_anywhere(shelf: Any) -> None:
    facts = shelf.save("a\0" + "é" * 1000).metadata
    assert facts["length"] == 1002
    assert facts["preview"].startswith("a\ufffdéé")
    assert len(facts["preview"]) == 401
