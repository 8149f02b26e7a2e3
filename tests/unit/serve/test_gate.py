"""The gate of a deployment: real sockets, a process that holds the port, and servers that come and go at it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.serve import gate
from penstock.serve.gate import GateAway, Way
from tests.launching import eventually
from tests.ports import new_port

HOST = "127.0.0.1"


class Held:
    """A gate in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate"
        self.port = new_port()
        self.ways: list[Way] = []
        self.servers: list[Server] = []
        self.start()

    def start(self) -> None:
        command = [sys.executable, gate.__file__, str(self.path), HOST, str(self.port)]
        self.process = subprocess.Popen(command)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def way(self, generation: int) -> Way:
        def look() -> Way | None:
            with suppress(GateAway):
                return Way(self.path, generation)
            return None

        found = eventually(look)
        assert found is not None
        self.ways.append(found)
        return found

    def server(self, generation: int, word: bytes) -> Server:
        self.servers.append(Server(self.way(generation), word))
        return self.servers[-1]


class Server:
    """Takes connections at the gate, and answers each line of theirs; leaves when it is told to."""

    def __init__(self, way: Way, word: bytes) -> None:
        self.way, self.word = way, word
        self.left = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        self.way.port.settimeout(0.02)
        with suppress(GateAway):
            while not self.way.told_to_leave():
                with suppress(TimeoutError):
                    connection, _ = self.way.port.accept()
                    threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
        self.way.port.close()
        self.left.set()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                connection.sendall(self.word + b" " + line)
            connection.sendall(b"the end")  # they have closed their half


@pytest.fixture
def held(home: Path) -> Iterator[Held]:
    made = Held(home)
    yield made
    made.end()
    for server in made.servers:
        assert server.left.wait(20)
    for way in made.ways:
        way.close()
        way.port.close()


def ask(port: int) -> bytes:
    with socket.create_connection((HOST, port), timeout=20) as connection:
        connection.sendall(b"who?\n")
        return connection.makefile("rb").readline()


def test_nobody_is_refused_before_somebody_serves(held: Held) -> None:
    way = held.way(1)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, held.port) for _ in range(8)]
        held.servers.append(Server(way, b"one"))
        assert {one.result(20) for one in answers} == {b"one who?\n"}


def test_the_earlier_leaves_when_the_later_serves_and_nobody_is_refused(held: Held) -> None:
    first = held.server(1, b"one")
    first.way.say_ready()
    over = threading.Event()
    answers: list[bytes] = []

    def go_on() -> None:
        while not over.is_set():
            answers.append(ask(held.port))

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(go_on) for _ in range(4)]
        eventually(lambda: len(answers) > 50)
        second = held.server(2, b"two")
        assert not first.left.wait(0.2)  # it is there, and not ready
        second.way.say_ready()
        assert first.left.wait(10)
        seen = len(answers)
        eventually(lambda: len(answers) > seen + 50)
        over.set()
        for one in asking:
            one.result(20)
    assert set(answers[seen + 10 :]) == {b"two who?\n"}
    assert set(answers) == {b"one who?\n", b"two who?\n"}


def test_a_later_one_that_never_serves_changes_nothing(held: Held) -> None:
    first = held.server(1, b"one")
    first.way.say_ready()
    held.way(2).close()
    assert ask(held.port) == b"one who?\n"
    # One that was earlier, and comes to be ready only now, is sent away at once.
    late = held.way(0)
    late.say_ready()
    eventually(late.told_to_leave)
    assert not first.left.is_set()


def test_half_closed_connections_and_slow_readers_are_the_server_s_own_affair(held: Held) -> None:
    held.server(1, b"one")
    with socket.create_connection((HOST, held.port), timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"a\nb\n")
        connection.shutdown(socket.SHUT_WR)
        read = b""
        while part := connection.recv(1):
            read += part
    assert read == b"one a\none b\nthe end"


def test_another_gate_is_heard_of_and_hands_out_another_socket(held: Held) -> None:
    way = held.way(1)
    held.end()

    def gone() -> bool:
        with suppress(GateAway):
            way.told_to_leave()
            return False
        return True

    eventually(gone)
    with pytest.raises(GateAway):
        Way(held.path, 1)
    way.port.close()
    held.start()
    held.server(1, b"one")
    assert ask(held.port) == b"one who?\n"


@pytest.mark.parametrize("noise", [b"hello\n", b"ready\n", b"ready x\n", b"x" * 5000, b"here -1\n"])
def test_what_it_does_not_understand_ends_the_connection_and_nothing_else(held: Held, noise: bytes) -> None:
    first = held.server(1, b"one")
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(held.path))
        with suppress(BrokenPipeError):
            other.sendall(noise)
        other.settimeout(10)
        with suppress(ConnectionResetError):
            while other.recv(100):
                pass
    assert ask(held.port) == b"one who?\n"
    assert not first.left.is_set()


def test_more_than_it_takes_are_turned_away(held: Held) -> None:
    first = held.way(1)
    many = [held.way(0) for _ in range(gate.MOST - 1)]
    with pytest.raises(GateAway):
        Way(held.path, 0)
    many.pop().close()
    held.way(0).close()
    assert not first.told_to_leave()
    for one in many:
        one.close()


def test_it_ends_when_it_is_told_to(held: Held) -> None:
    held.way(1).close()
    held.process.send_signal(signal.SIGTERM)
    assert held.process.wait(10) == 0


def test_it_needs_nothing_of_penstock(tmp_path: Path) -> None:
    """It runs on when its image is gone, beside services of any later version."""
    look = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='x'); print([m for m in sys.modules if 'penstock' in m])"
    done = subprocess.run(
        [sys.executable, "-I", "-c", look, gate.__file__], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "[]\n"
