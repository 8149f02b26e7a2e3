"""Last words on disk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from penstock.model.run import Event, LogLine
from penstock.runtime import spool as our_room
from penstock.runtime.spool import LIMIT, Spool, crash, crash_path, last_words


def event(seq: int, text: str = "") -> Event:
    lines = (LogLine(at=datetime.now(UTC), stream="stdout", text=text),) if text else ()
    return Event(seq=seq, at=datetime.now(UTC), type="log", lines=lines)


def test_a_half_written_line_is_left_out(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), "r", 1)
    spool.write(event(1))
    spool.write(event(2))
    file = tmp_path / "spool" / "r@1"
    file.write_bytes(file.read_bytes()[:-10])
    assert [one.seq for one in last_words(str(tmp_path), "r", 1)] == [1]


def test_what_was_acknowledged_is_forgotten(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), "r", 1)
    spool.write(event(1))
    spool.forget()
    spool.write(event(2))
    assert [one.seq for one in last_words(str(tmp_path), "r", 1)] == [2]


def test_the_newest_output_fits_and_no_event_is_missing(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), "r", 1)
    for number in range(1, 11):
        spool.write(event(number, "x" * (LIMIT // 4)))
    words = last_words(str(tmp_path), "r", 1)
    assert [one.seq for one in words] == list(range(1, 11))
    assert [bool(one.lines) for one in words] == [False] * 7 + [True] * 3


def test_a_spool_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    spool = Spool(str(tmp_path), "r", 1)
    spool.write(event(1))
    spool.forget()
    assert last_words(str(tmp_path), "r", 1) == ()


def test_a_crash_shows_the_users_frames_only(tmp_path: Path) -> None:
    path = crash_path(str(tmp_path), "r", 1)
    path.parent.mkdir()
    path.write_text(
        f'Fatal Python error\n  File "/home/me/flow.py", line 3 in act\n  File "{our_room.__file__}", line 1 in x\n'
    )
    assert crash(str(tmp_path), "r", 1) == 'Fatal Python error\n  File "/home/me/flow.py", line 3 in act'
    assert crash(str(tmp_path), "r", 1) is None
