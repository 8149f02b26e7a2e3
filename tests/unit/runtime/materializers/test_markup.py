from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock import HTML, Markdown


@pytest.mark.parametrize(
    "value", [HTML("<h1>ä</h1>\r\n"), HTML(""), Markdown("# ä\n"), Markdown("x" * 2_000_000)], ids=len
)
def test_markup_comes_back(there_and_back: Callable[[Any, str], Any], value: Any) -> None:
    back = there_and_back(value, "markup")
    assert type(back) is type(value)
    assert back == value


def test_its_file_is_one_that_others_open(shelf: Any) -> None:
    assert [file.name for file in shelf.save(HTML("<p>")).files] == ["value.html"]
    assert [file.name for file in shelf.save(Markdown("*a*")).files] == ["value.md"]


def test_it_stays_markup_inside_a_value(there_and_back: Callable[[Any, str], Any]) -> None:
    back = there_and_back({"report": Markdown("*a*")}, "structured")
    assert type(back["report"]) is Markdown


class Page(HTML):
    __slots__ = ("title",)


def test_a_subclass_and_what_is_no_text_are_pickled_and_say_so(shelf: Any) -> None:
    assert shelf.save(Page("<p>")).code_bearing
    assert shelf.save(HTML("\ud800")).code_bearing


def test_the_facts(shelf: Any) -> None:
    facts = shelf.save(Markdown("a" * 1000)).metadata
    assert (facts["length"], len(facts["preview"])) == (1000, 401)
