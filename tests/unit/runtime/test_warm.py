from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from penstock.author.archive import pack
from penstock.ids import new_id
from penstock.model.launch import RUN_VARIABLE, Ticket
from penstock.model.stack import Component
from penstock.runtime.orders import Declined, Drop, Exited, Fork, Forked, Forking, FromParent
from penstock.runtime.processes import PLACEHOLDER
from penstock.runtime.workplace import code_directory
from tests.launching import alive, eventually

SCRIPT = """
    # A warm parent whose runs call a function of the imported module with the ticket's parameters.
    import importlib, os, socket, sys
    from penstock.runtime import processes, warm

    def load(source, directory):
        return importlib.import_module(source)

    def run(ticket):
        return importlib.import_module(ticket.source).main(**ticket.parameters) or 0

    channel = socket.socket(fileno=os.dup(0))
    processes.leave_stdin()
    warm.Warm(channel, load, run).serve()
"""

WORK = """
    import atexit, os, random, signal, sys, tempfile, threading, time, weakref

    note = open(os.environ["NOTES"], "a", buffering=1).write
    shared = tempfile.TemporaryDirectory()
    atexit.register(lambda: note(f"left {os.getpid()}\\n"))

    def main(what="note", status=0):
        getattr(sys.modules[__name__], what)()
        return status

    def nothing():
        pass

    def tell():
        note(f"{os.getpid()} {os.getcwd()}\\n")

    def stay():
        tell()
        time.sleep(600)

    def draw():
        import numpy
        note(f"{random.random()} {numpy.random.random()}\\n")

    def finish():
        mine = tempfile.TemporaryDirectory()
        globals()["kept"] = mine
        atexit.register(lambda: note(f"ended in {os.getcwd()}\\n"))
        note(f"{shared.name} {mine.name}\\n")

    def leave_thread():
        threading.Thread(target=time.sleep, args=(600,)).start()

    def inspect():
        files = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
        note(repr([
            [one for one in map(os.path.realpath, files) if "socket:" in one or "pipe:" in one],
            signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
            signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set(),
            os.getsid(0) == os.getpid() == os.getpgid(0),
        ]) + "\\n")

    def bug():
        raise SystemExit(5)
"""


class Other:
    """The other end of a warm parent."""

    def __init__(self, home: Path, tmp_path: Path) -> None:
        self.home, self.notes = home, tmp_path / "notes"
        self.tickets: dict[str, Ticket] = {}
        script = tmp_path / "warm.py"
        script.write_text(dedent(SCRIPT))
        self.channel, theirs = socket.socketpair()
        environment = {**os.environ, "NOTES": str(self.notes), RUN_VARIABLE: PLACEHOLDER}
        with theirs, (home / "log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, str(script)], stdin=theirs, stderr=log, env=environment)
        self.channel.settimeout(20)
        self._lines = self.channel.makefile("rb")
        self._decode = msgspec.json.Decoder(FromParent).decode

    def order(self, code: str, source: str = "work", **parameters: Any) -> str:
        ticket = Ticket(
            run_id=new_id(),
            run_name="lucid-lynx",
            fence=1,
            pipeline="p",
            source=source,
            code=code,
            parameters=parameters,
            step_parameters={},
            artifact_store=Component(flavor="file"),
            server="unix:/nowhere",
            token="secret",
            home=str(self.home),
            lease=1.0,
            grace=1.0,
        )
        self.say(Fork(ticket))
        return ticket.run_id

    def say(self, message: Fork | Drop) -> None:
        self.channel.sendall(msgspec.json.encode(message) + b"\n")

    def hear(self) -> FromParent:
        heard = self._decode(self._lines.readline())
        assert isinstance(heard, Declined | Forking | Forked | Exited)
        return heard

    def ran(self, code: str, source: str = "work", **parameters: Any) -> int:
        """Order a run and hear all of it; its wait status."""
        run_id = self.order(code, source, **parameters)
        assert self.hear() == Forking(run_id)
        forked = self.hear()
        assert isinstance(forked, Forked)
        exited = self.hear()
        assert isinstance(exited, Exited)
        assert {forked.run_id, exited.run_id} == {run_id}
        return exited.status

    def noted(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []


@pytest.fixture
def code(home: Path, tmp_path: Path) -> str:
    """The digest of a project that is in the code cache of the home."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "work.py").write_text(dedent(WORK))
    (project / "seeded.py").write_text(
        "import numpy, random\nrandom.seed(7)\nnumpy.random.seed(7)\nnumpy.random.random(5)\nfrom work import *\n"
    )
    (project / "broken.py").write_text("raise ValueError('broken by hand')\n")
    (project / "leaving.py").write_text("import sys\nsys.exit('I will not be imported')\n")
    (project / "threads.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    (project / "listening.py").write_text(
        "import signal\nsignal.signal(signal.SIGCHLD, lambda *_: None)\nfrom work import *\n"
    )
    (project / "slow.py").write_text(
        "import os, time\nfrom work import *\nopen(os.environ['NOTES'], 'a').write('importing\\n')\n"
        "while not os.path.exists(os.environ['NOTES'] + '.go'): time.sleep(0.005)\n"
    )
    archive = pack(project)
    code_directory(archive.digest, home=str(home), fetch=archive.tar)
    return archive.digest


@pytest.fixture
def other(home: Path, tmp_path: Path) -> Iterator[Other]:
    made = Other(home, tmp_path)
    yield made
    made.channel.close()
    made._lines.close()
    made.process.wait(timeout=20)


def test_each_run_is_a_fork_with_a_place_of_its_own(other: Other, code: str) -> None:
    assert [other.ran(code, what="tell", status=status) for status in (0, 3)] == [0, 3 << 8]
    first, second = (line.split() for line in other.noted())
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert Path(first[1]).parent == other.home / "work"
    assert not Path(first[1]).exists()


def test_a_run_inherits_nothing_of_how_its_parent_works(other: Other, code: str) -> None:
    assert [other.ran(code, what="inspect") for _ in range(2)] == [0, 0]
    assert other.noted() == [repr([[], True, True, True])] * 2


def test_exits_are_told_while_another_module_is_being_imported(other: Other, code: str) -> None:
    run_id = other.order(code, what="stay")
    assert other.hear() == Forking(run_id)
    forked = other.hear()
    assert isinstance(forked, Forked)
    other.order(code, "slow", what="nothing")
    eventually(lambda: "importing" in other.noted())
    os.kill(forked.pid, signal.SIGKILL)
    assert other.hear() == Exited(run_id, signal.SIGKILL)
    Path(f"{other.notes}.go").touch()
    assert isinstance(other.hear(), Forking)


def test_an_order_can_be_dropped_until_it_is_forked(other: Other, code: str) -> None:
    first, second = other.order(code, "slow", what="tell"), other.order(code, what="nothing")
    eventually(lambda: "importing" in other.noted())
    other.say(Drop(first))
    Path(f"{other.notes}.go").touch()
    assert other.hear() == Declined(first, "was cancelled before it started")
    assert other.hear() == Forking(second)
    other.say(Drop(second))
    assert isinstance(other.hear(), Forked)
    assert other.hear() == Exited(second, 0)
    assert other.noted() == ["importing"]


@pytest.mark.parametrize("source", ["broken", "leaving"])
def test_a_module_that_cannot_be_imported_fails_in_the_run(other: Other, code: str, source: str) -> None:
    status = other.ran(code, source)
    assert os.waitstatus_to_exitcode(status) == 70
    assert other.ran(code, what="nothing") == 0


def test_threads_make_a_fork_unsafe(other: Other, code: str) -> None:
    run_id = other.order(code, "threads")
    declined = other.hear()
    assert isinstance(declined, Declined)
    assert (declined.run_id, declined.spawn) == (run_id, True)
    assert "starts threads" in declined.reason


def test_code_that_cannot_be_had_is_told(other: Other) -> None:
    run_id = other.order("0" * 64)
    declined = other.hear()
    assert isinstance(declined, Declined)
    assert (declined.run_id, declined.spawn) == (run_id, False)
    assert declined.reason.startswith("could not be started: ")


def test_a_module_that_listens_for_children_does_not_make_its_parent_deaf(other: Other, code: str) -> None:
    assert other.ran(code, "listening", what="nothing") == 0
    assert other.ran(code, "listening", what="nothing") == 0


def test_chance_is_new_in_each_run_but_a_seed_holds(other: Other, code: str) -> None:
    for source in ("work", "work", "seeded", "seeded"):
        other.ran(code, source, what="draw")
    first, second, third, fourth = (line.split() for line in other.noted())
    assert first[0] != second[0]
    assert third == fourth


def test_exit_handlers_belong_to_who_registered_them(other: Other, code: str) -> None:
    for _ in range(2):
        other.ran(code, what="finish")
    places = [line.split() for line in other.noted()]
    assert [place[:2] for place in places[1::2]] == [["ended", "in"]] * 2
    assert [Path(place[2]).parent for place in places[1::2]] == [other.home / "work"] * 2
    for shared, mine in places[::2]:
        assert Path(shared).is_dir()
        assert not Path(mine).exists()
    other.channel.shutdown(socket.SHUT_RDWR)
    other.process.wait(timeout=20)
    assert other.noted()[-1] == f"left {other.process.pid}"
    assert not Path(places[0][0]).exists()


def test_a_thread_that_is_left_does_not_keep_the_process(other: Other, code: str) -> None:
    assert other.ran(code, what="leave_thread") == 0


def test_what_escapes_from_a_run_does_not_get_into_the_parent(other: Other, code: str) -> None:
    assert os.waitstatus_to_exitcode(other.ran(code, what="bug")) == 70
    assert "SystemExit" in (other.home / "log").read_text()


def test_without_a_supervisor_it_ends_its_runs_and_leaves(other: Other, code: str) -> None:
    other.order(code, what="stay")
    forked = [other.hear(), other.hear()][1]
    assert isinstance(forked, Forked)
    eventually(other.noted)
    other.channel.shutdown(socket.SHUT_RDWR)
    assert other.process.wait(timeout=20) == 0
    assert not alive(forked.pid)
    assert [one.name for one in (other.home / "work").iterdir() if one.name.startswith("warm")] == []


def test_two_hundred_runs_that_end_at_once_are_all_told(other: Other, code: str) -> None:
    wanted = {other.order(code, what="nothing") for _ in range(200)}
    told: dict[type, set[str]] = {Forking: set(), Forked: set(), Exited: set(), Declined: set()}
    while len(told[Exited]) < 200:
        heard = other.hear()
        told[type(heard)].add(heard.run_id)
    assert told == {Forking: wanted, Forked: wanted, Exited: wanted, Declined: set()}
