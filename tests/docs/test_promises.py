"""Each promise names tests that are there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.promises import NAMED

ROOT = Path(__file__).parents[2]


@cache
def names(path: str) -> set[str]:
    """The tests of a file, those of its classes with the name of the class."""
    found = set()
    for one in ast.parse((ROOT / path).read_text()).body:
        inner = one.body if isinstance(one, ast.ClassDef) else [one]
        before = f"{one.name}::" if isinstance(one, ast.ClassDef) else ""
        found |= {before + deed.name for deed in inner if isinstance(deed, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


def test_the_page_has_promises() -> None:
    assert len(NAMED) > 100


@pytest.mark.parametrize("named", NAMED)
def test_what_shows_it_is_there(named: str) -> None:
    path, _, test = named.partition("::")
    assert test in names(path)
