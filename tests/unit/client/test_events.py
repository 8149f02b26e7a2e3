from __future__ import annotations

import pytest

from penstock.client.events import EventStream
from penstock.errors import PenstockError


def test_comments_ids_and_unknown_fields_are_passed_over() -> None:
    lines = [
        b": keep-alive",
        b"",
        b"id: 3",
        b"event: step_running",
        b'data: {"number": 3, "at": "2025-01-01T00:00:00Z",',
        b'data: "type": "step_running", "step": "load", "data": {"reason": null}}',
        b"",
        b"retry: 100",
        b"",
        b'data:{"number":4,"at":"2025-01-01T00:00:01Z","type":"run_completed"}',
        b"",
    ]
    stream = EventStream(lines)
    first, second = stream
    assert (first.number, first.type, first.step, first.data) == (3, "step_running", "load", {"reason": None})
    assert (second.number, second.type, second.step) == (4, "run_completed", None)
    assert stream.ended is False


def test_the_server_says_when_there_is_no_more() -> None:
    stream = EventStream([b"event: end", b"data: {}", b"", b"data: never read"])
    assert list(stream) == []
    assert stream.ended is True


def test_an_entry_that_was_cut_off_is_not_told() -> None:
    assert list(EventStream([b'data: {"number": 3'])) == []


def test_an_entry_that_cannot_be_read_is_an_error_of_ours() -> None:
    with pytest.raises(PenstockError, match="cannot be read"):
        list(EventStream([b"data: {}", b""]))
