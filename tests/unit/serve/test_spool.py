from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from penstock.serve import spool
from penstock.serve.spool import MOST_REFUSED, Spool


def test_what_was_written_is_found_by_whoever_comes_next(tmp_path: Path) -> None:
    first = Spool(tmp_path, 1000)
    assert first.append([b"a", b"b"])
    assert first.oldest() is None  # it is still being written
    first.rotate()
    [segment] = [first.oldest()]
    assert segment is not None
    assert segment.read_bytes() == b"a\nb\n"
    assert Spool(tmp_path, 1000).oldest() == segment
    first.remove(segment)
    assert (first.oldest(), first.size) == (None, 0)


def test_it_has_an_end(tmp_path: Path) -> None:
    one = Spool(tmp_path, 100)
    assert one.append([b"x" * 60])
    assert not one.append([b"x" * 60])
    one.rotate()
    segment = one.oldest()
    assert segment is not None
    one.remove(segment)
    assert one.append([b"x" * 60])


def test_segments_of_processes_that_live_are_left_to_them(tmp_path: Path) -> None:
    (tmp_path / f"00000000000000000001-{os.getppid()}.jsonl").write_bytes(b"x\n")
    assert Spool(tmp_path, 100).oldest() is None
    (tmp_path / "00000000000000000002-999999999.jsonl").write_bytes(b"x\n")
    assert Spool(tmp_path, 100).oldest() is not None


def test_a_disk_that_is_full_costs_the_record_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Spool(tmp_path, 100)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool.os, "write", full)
    assert not one.append([b"a"])
    monkeypatch.undo()
    assert one.append([b"b"])


def test_what_is_written_while_segments_are_taken_away_is_all_there(tmp_path: Path) -> None:
    one = Spool(tmp_path, 100_000_000)
    taken: list[bytes] = []
    over = threading.Event()

    def take() -> None:
        while not over.is_set() or one.oldest() is not None:
            one.rotate()
            segment = one.oldest()
            if segment is not None:
                taken.extend(segment.read_bytes().splitlines())
                one.remove(segment)

    taker = threading.Thread(target=take)
    taker.start()
    wrote = [one.append([b"%d" % number]) for number in range(5000)]
    over.set()
    taker.join()
    one.rotate()
    assert all(wrote)
    left = one.oldest()
    taken += left.read_bytes().splitlines() if left is not None else []
    assert sorted(map(int, taken)) == list(range(5000))


def test_half_a_record_is_none_and_does_not_spoil_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Spool(tmp_path, 1000)
    assert one.append([b"first"])
    write = os.write
    monkeypatch.setattr(spool.os, "write", lambda file, data: write(file, data[:3]))
    assert not one.append([b"second"])
    monkeypatch.undo()
    assert one.append([b"third"])
    one.rotate()
    segment = one.oldest()
    assert segment is not None
    assert segment.read_bytes() == b"first\nthird\n"
    assert one.size == len(b"first\nthird\n")


def test_a_segment_that_another_process_removes_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "00000000000000000001-999999999.jsonl"
    kept.write_bytes(b"12345\n")
    gone = tmp_path / "00000000000000000000-999999999.jsonl"
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone, kept]))
    one = Spool(tmp_path, 20)
    assert one.size == 6
    assert not one.append([b"x" * 20])
    assert one.append([b"x"])


def test_what_is_refused_waits_no_more_and_only_the_last_of_it_is_kept(tmp_path: Path) -> None:
    one = Spool(tmp_path, 100)
    for _ in range(MOST_REFUSED + 3):
        assert one.append([b"x" * 60])
        one.rotate()
        segment = one.oldest()
        assert segment is not None
        one.refuse(segment)
        one.refuse(segment)  # another process had it, too
    assert (one.oldest(), one.size) == (None, 0)
    assert len(list(tmp_path.glob("*.refused"))) == MOST_REFUSED
    assert segment.with_suffix(".refused").is_file()
