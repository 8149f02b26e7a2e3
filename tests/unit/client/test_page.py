from __future__ import annotations

import msgspec

from penstock.client.page import Page
from penstock.model.pipeline import Pipeline


def test_items_are_records() -> None:
    body = b'{"items":[{"id":"p","name":"n","latest_snapshot_id":null,"created":"2025-01-01T00:00:00Z"}],"next":"c"}'
    page = msgspec.json.decode(body, type=Page[Pipeline])
    assert [one.name for one in page] == ["n"]
    assert (len(page), page.next, page.total) == (1, "c", None)
    assert page[0] is page.items[0]
