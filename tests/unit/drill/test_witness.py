"""What a step says is on disk before it goes on, and it goes on when it may."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock.drill.records import Deed, History
from penstock.drill.witness import Witness


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose path is short: a Unix socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="pk-") as folder:
        yield Path(folder)


def tell(witness: Witness, order: int, event: str = "begin", step: str = "draw") -> bool:
    deed = {"order": order, "run_id": "r", "step": step, "attempt": 1, "pid": 5, "event": event}
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(witness.path))
        line.sendall(json.dumps(deed).encode() + b"\n")
        return line.recv(1) == b"+"


def test_a_word_is_on_disk_when_it_is_answered(place: Path) -> None:
    history = History()
    with closing(Witness(place, history)) as witness:
        assert tell(witness, 1)
        assert tell(witness, 1, "end")
        kept = [json.loads(line) for line in (place / "witness.jsonl").read_text().splitlines()]
    assert [(one["order"], one["event"]) for one in kept] == [(1, "begin"), (1, "end")]
    assert [one.event for one in history.of(Deed)] == ["begin", "end"]
    first, second = history.of(Deed)
    assert 0 < first.at <= second.at


def test_half_a_word_is_none(place: Path) -> None:
    history = History()
    with closing(Witness(place, history)) as witness:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(witness.path))
            line.sendall(b'{"order": 1')
        assert tell(witness, 2)
    assert [one.order for one in history.of(Deed)] == [2]


def test_those_who_are_gathered_wait_for_each_other_and_nobody_else_does(place: Path) -> None:
    with closing(Witness(place, History())) as witness:
        witness.gather([1, 2], patience=30)
        answered: list[bool] = []
        first = threading.Thread(target=lambda: answered.append(tell(witness, 1)))
        first.start()
        assert tell(witness, 3)
        assert tell(witness, 1, "end")
        assert not answered
        assert tell(witness, 2)
        first.join(30)
        assert answered == [True]


def test_nobody_waits_for_ever(place: Path) -> None:
    with closing(Witness(place, History())) as witness:
        witness.gather([1, 2], patience=0.05)
        assert tell(witness, 1)
