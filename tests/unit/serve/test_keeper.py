"""What a keeper makes of its processes, which are doubles: what they say, how they end, and that some cannot be started."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from penstock.serve import keeper as module
from penstock.serve.keeper import Keeper

PLAN = {"revision": 1, "settings": {"uvicorn_workers": 2, "drain": 30.0}}


class Process:
    """A process that does nothing. The other end of its pipe is open until it is told to `say` the last."""

    def __init__(self, number: int, say: int) -> None:
        self.pid = 1_000_000 + number
        self.returncode: int | None = None
        self.signals: list[int] = []
        self._say = os.dup(say)

    def say(self, text: bytes, *, last: bool = True) -> None:
        os.write(self._say, text)
        if last:
            self.hush()

    def hush(self) -> None:
        if self._say >= 0:
            os.close(self._say)
            self._say = -1

    def end(self, status: int) -> None:
        self.returncode = status

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


@dataclass
class Yard:
    """A keeper whose looks are the test's, and the processes that it has started."""

    directory: Path
    processes: list[Process] = field(default_factory=list)
    fails_after: int | None = None
    """Number of processes after which no more can be started."""

    clock: float = 0.0
    keeper: Keeper = field(init=False)

    def popen(self, command: list[str], *, pass_fds: tuple[int, int], **_: Any) -> Process:
        if self.fails_after is not None and len(self.processes) >= self.fails_after:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.processes.append(Process(len(self.processes), pass_fds[1]))
        return self.processes[-1]

    def look(self) -> dict[str, Any]:
        """One turn of the keeper, and what it has written then."""
        readable = [one.said for one in self.keeper._all() if one.said is not None]
        for said in module.select.select(readable, [], [], 0)[0]:
            next(one for one in self.keeper._all() if one.said == said).hear()
        self.keeper._look()
        return self.state

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "state.json").read_text())
        return found


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    made = Yard(tmp_path)
    monkeypatch.setattr(module.subprocess, "Popen", made.popen)
    monkeypatch.setattr(module.os, "killpg", lambda *_: None)
    monkeypatch.setattr(module.time, "monotonic", lambda: made.clock)
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        made.keeper = Keeper(tmp_path, sock, log=2)
        yield made
        made.keeper._give_up_coming()
    for process in made.processes:
        process.hush()


def began(yard: Yard) -> tuple[Process, Process]:
    yard.keeper._roll()
    first, second = yard.processes[-2:]
    return first, second


def test_it_serves_when_all_are_ready_though_what_they_have_forked_holds_their_pipes(yard: Yard) -> None:
    first, second = began(yard)
    first.say(b"ready", last=False)
    assert yard.look()["state"] == "pending"
    second.say(b"ready")
    told = yard.look()
    assert (told["state"], told["workers"]) == ("running", [first.pid, second.pid])


@pytest.mark.parametrize(
    ("words", "last", "told"),
    [
        (b"ValueError: no model", True, "ValueError: no model"),
        (b"ValueError: no model", False, "ValueError: no model"),
        (b"", True, "A process of the service ended while it came up: with status 3."),
        (b"ready", True, "A process of the service ended while it came up: with status 3."),
    ],
)
def test_one_that_ends_while_it_comes_up_takes_the_others_along_and_is_told_of(
    yard: Yard, words: bytes, last: bool, told: str
) -> None:
    first, _ = began(yard)
    first.say(words, last=last)
    first.end(3)
    assert (yard.look()["state"], yard.state["error"]) == ("error", told)
    assert yard.keeper._all() == []
    yard.clock = module.FIRST_PAUSE
    assert (yard.look()["state"], len(yard.processes)) == ("pending", 4)


def test_a_process_that_cannot_be_started_is_tried_again_and_costs_nobody_who_is_served(yard: Yard) -> None:
    for process in began(yard):
        process.say(b"ready")
    serving = yard.look()["workers"]
    yard.fails_after = 3
    yard.keeper._asked = True
    told = yard.look()
    assert (told["state"], told["workers"]) == ("error", serving)
    assert "cannot be started" in told["error"]
    yard.fails_after = None
    yard.clock = module.LONGEST_PAUSE
    assert yard.look()["state"] == "pending"
    for process in yard.processes[-2:]:
        process.say(b"ready")
    assert yard.look()["state"] == "running"


def test_what_has_died_is_replaced_by_those_that_were_coming_up_anyway(yard: Yard) -> None:
    for process in began(yard):
        process.say(b"ready")
    yard.look()
    began(yard)
    yard.processes[0].end(-9)
    assert "by signal 9" in yard.look()["error"]
    for process in yard.processes[2:]:
        process.say(b"ready")
    assert (yard.look()["state"], yard.state["error"]) == ("running", None)
    assert yard.processes[1].signals
    yard.clock = module.LONGEST_PAUSE
    yard.look()
    assert len(yard.processes) == 4


def test_a_plan_that_cannot_be_read_leaves_what_serves(yard: Yard) -> None:
    for process in began(yard):
        process.say(b"ready")
    serving = yard.look()["workers"]
    (yard.directory / "plan.json").write_text("{")
    yard.keeper._asked = True
    told = yard.look()
    assert (told["state"], told["workers"]) == ("error", serving)


def test_no_descriptor_is_left_of_what_is_gone(yard: Yard) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        for process in began(yard):
            process.hush()
    for process in yard.processes[:-2]:
        process.end(-9)
    yard.clock = 1.0
    yard.keeper._look()
    assert len(yard.keeper._all()) == 2
    assert len(os.listdir("/dev/fd")) == before + 2


def test_who_only_looks_at_its_lock_keeps_it_from_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([True, True, False])

    def flock(*_: int) -> None:
        if next(looks, True):
            raise BlockingIOError

    monkeypatch.setattr(module.fcntl, "flock", flock)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    assert module._taken(0)
    assert not module._taken(0)
