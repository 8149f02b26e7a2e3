"""The journal: order, batches, patience with a server that is away, and an end to it when the server refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from penstock.errors import PenstockError, ServerUnreachable, StaleFence
from penstock.model.run import Batch, Failure, LogLine, Receipt, RunState
from penstock.runtime.journal import Journal
from penstock.runtime.spool import Spool, last_words


class Server:
    """Takes batches, unless it is told to be away or to refuse."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.away = 0
        self.refusal: PenstockError | None = None
        self.stop = False
        self.changed = threading.Condition()

    def __call__(self, batch: Batch) -> Receipt:
        with self.changed:
            self.changed.notify_all()
            if self.away:
                self.away -= 1
                raise ServerUnreachable("Away.")
            if self.refusal is not None:
                raise self.refusal
            self.batches.append(batch)
            return Receipt(state=RunState.RUNNING, sequence=0, stop=self.stop)

    def types(self) -> list[str]:
        return [event.type for batch in self.batches for event in batch.events]

    def numbers(self) -> list[int]:
        return [event.seq for batch in self.batches for event in batch.events]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout=20)


@pytest.fixture
def server() -> Server:
    return Server()


def begun(server: Server, **options: object) -> tuple[Journal, list[object]]:
    told: list[object] = []
    journal = Journal(server, 3, **options)  # type: ignore[arg-type]
    journal.begin({"pid": 1}, refused=told.append, stop=lambda: told.append("stop"))
    return journal, told


def test_beginning_waits_for_the_server_and_ending_delivers_everything(server: Server) -> None:
    server.away = 2
    journal, _ = begun(server)
    assert server.types() == ["run_started"]
    for number in range(1200):
        journal.write("step_declared", step=f"s{number}")
    journal.end({"x": 1})
    assert server.numbers() == list(range(1, 1203))
    assert server.batches[-1].events[-1].values == {"x": 1}
    assert max(len(batch.events) for batch in server.batches) <= 500
    assert {batch.fence for batch in server.batches} == {3}


def test_what_happens_close_together_travels_together(server: Server) -> None:
    journal, _ = begun(server)
    for number in range(20):
        journal.write("step_declared", step=f"s{number}")
    journal.end(None, Failure(type="E", message="m"))
    assert len(server.batches) <= 3
    assert server.types()[-1] == "run_failed"


def test_a_claim_that_is_lost_before_the_beginning_is_raised(server: Server) -> None:
    server.refusal = StaleFence("Claimed again.")
    with pytest.raises(StaleFence):
        begun(server)


def test_a_refusal_is_told_once_and_later_writes_are_dropped(server: Server) -> None:
    journal, told = begun(server)
    server.refusal = StaleFence("Claimed again.")
    journal.write("step_declared", step="a")
    server.wait_for(lambda: bool(told))
    journal.write("step_declared", step="b")
    journal.end({})
    assert told == [server.refusal]
    assert server.types() == ["run_started"]


def test_events_wait_for_a_server_that_comes_back(server: Server) -> None:
    journal, told = begun(server)
    server.away = 3
    journal.write("step_declared", step="a")
    server.wait_for(lambda: len(server.batches) == 2)
    journal.end({})
    assert server.types() == ["run_started", "step_declared", "run_completed"]
    assert told == []


def test_a_heartbeat_is_sent_when_nothing_happens_and_hears_of_a_cancel(server: Server) -> None:
    journal, told = begun(server, heartbeat=0.01)
    server.stop = True
    server.wait_for(lambda: len(server.batches) > 3)
    assert told == ["stop"]
    assert all(batch.events == () for batch in server.batches[1:])
    journal.end({})


def test_much_output_is_cut_into_requests_of_a_bounded_size(server: Server) -> None:
    journal, _ = begun(server)
    lines = [LogLine(at=datetime.now(UTC), stream="stdout", text="x" * 60_000) for _ in range(100)]
    journal.log(lines)
    journal.end({})
    sizes = [sum(len(line.text) for event in batch.events for line in event.lines) for batch in server.batches]
    assert sum(sizes) == 6_000_000
    assert max(sizes) <= 1_100_000


def test_what_was_not_acknowledged_is_there_after_a_crash(server: Server, tmp_path: Path) -> None:
    journal, _ = begun(server, spool=Spool(str(tmp_path), "r", 3))
    server.away = 10_000
    journal.write("step_declared", step="a")
    journal.write("step_started", step="a")
    words = last_words(str(tmp_path), "r", 3)
    assert [(event.seq, event.type) for event in words] == [(2, "step_declared"), (3, "step_started")]
    assert last_words(str(tmp_path), "r", 3) == ()
    server.away = 0
    journal.end({})


def test_after_a_good_end_there_are_no_last_words(server: Server, tmp_path: Path) -> None:
    journal, _ = begun(server, spool=Spool(str(tmp_path), "r", 3))
    journal.write("step_declared", step="a")
    journal.end({})
    assert list((tmp_path / "spool").iterdir()) == []
