from __future__ import annotations

import base64
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.ids import new_id
from penstock.store import paging, pipelines
from penstock.store.paging import LARGEST, Window, _sealed
from penstock.store.session import Database
from tests.unit.store.samples import AT


@pytest.mark.parametrize("given", [{}, {"size": 1}, {"size": LARGEST}, {"page": 7}, {"cursor": _sealed(new_id())}])
def test_what_can_be_asked_for(given: dict[str, Any]) -> None:
    assert Window(**given).size <= LARGEST


@pytest.mark.parametrize(
    ("given", "pointers"),
    [
        ({"size": 0}, ["/size"]),
        ({"size": LARGEST + 1}, ["/size"]),
        ({"page": 0}, ["/page"]),
        ({"page": 10**30}, ["/page"]),
        ({"cursor": ""}, ["/cursor"]),
        ({"cursor": "é"}, ["/cursor"]),
        ({"cursor": "%%%"}, ["/cursor"]),
        ({"cursor": base64.urlsafe_b64encode(b"no id").decode()}, ["/cursor"]),
        ({"cursor": base64.urlsafe_b64encode(b"\xff" * 36).decode()}, ["/cursor"]),
        ({"cursor": _sealed(new_id()), "page": 2}, ["/page"]),
        ({"cursor": "x", "page": 2, "size": -1}, ["/size", "/page", "/cursor"]),
    ],
)
def test_every_mistake_is_named_at_once(given: dict[str, Any], pointers: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        Window(**given)
    assert [fault["pointer"] for fault in refused.value.errors] == pointers


@given(st.text())
def test_no_text_is_more_than_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert Window(cursor=text).after is not None


def test_a_cursor_gives_its_key_back() -> None:
    key = new_id()
    assert Window(cursor=_sealed(key)).after == key
    assert Window().after is None


def test_a_list_is_counted_up_to_a_bound(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "COUNTED", 3)
    for number in range(4):
        with db.write() as session:
            pipelines.get_or_create(session, f"p{number}", AT)
        with db.read() as rs:
            page = pipelines.page(rs, Window(size=1))
        assert page.total == (number + 1 if number < 3 else None)
        assert (page.next is None) == (number == 0)
