from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.errors import Unavailable
from penstock.model.launch import socket_path
from penstock.stack.flavors import local
from penstock.stack.flavors.local import LocalLauncher, claim_directory
from tests.launching import Household, alive, eventually, household


@pytest.fixture
def house(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Household]:
    project = tmp_path / "project"
    project.mkdir()
    (project / "work.py").write_text(
        "import os, time\n"
        "def note(path): print(os.getpid(), file=open(path, 'a'))\n"
        "def stay(path): note(path); time.sleep(600)\n"
    )
    with household(home, project, tmp_path, monkeypatch) as made:
        yield made


def test_launchers_that_start_at_the_same_instant_get_one_supervisor(house: Household) -> None:
    launchers = [LocalLauncher(str(house.home), house.address) for _ in range(8)]
    tickets = [house.ticket("work:note", parameters={"path": str(house.notes)}) for _ in launchers]
    together = threading.Barrier(len(launchers))

    def launch(number: int) -> None:
        together.wait()
        launchers[number].launch(tickets[number])

    with ThreadPoolExecutor(len(launchers)) as pool:
        list(pool.map(launch, range(len(launchers))))
    for ticket in tickets:
        house.server.exit_of(ticket)
    assert len(house.noted(8)) == 8
    assert house.log().count(" serves (pid ") == 1
    for launcher in launchers:
        launcher.close()


def test_one_launcher_serves_many_threads(house: Household) -> None:
    tickets = [house.ticket("work:note", parameters={"path": str(house.notes)}) for _ in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(house.launcher.launch, tickets))
    assert {house.server.exit_of(ticket).status for ticket in tickets} == {0}
    assert len(house.noted(20)) == 20


def test_a_killed_supervisor_is_replaced_at_the_next_order(house: Household) -> None:
    house.server.exit_of(house.launch("work:note", parameters={"path": str(house.notes)}))
    before = house.pid()
    os.kill(before, signal.SIGKILL)
    assert house.server.exit_of(house.launch("work:note", parameters={"path": str(house.notes)})).status == 0
    assert house.pid() != before


def test_a_new_server_finds_the_supervisor_with_its_runs(house: Household) -> None:
    ticket = house.launch("work:stay", parameters={"path": str(house.notes)})
    house.noted()
    before = house.pid()
    successor = LocalLauncher(str(house.home), house.address)
    successor.launch(ticket)
    successor.stop(ticket.run_id)
    house.server.exit_of(ticket)
    assert house.pid() == before
    assert len(house.noted()) == 1
    successor.close()


def test_a_supervisor_of_another_version_makes_room_when_it_holds_nothing(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = house.launch("work:stay", parameters={"path": str(house.notes)})
    old = house.pid()
    monkeypatch.setattr(local, "VERSION", "999.0")
    successor = LocalLauncher(str(house.home), house.address)
    other = house.ticket("work:stay", parameters={"path": str(house.notes)})
    successor.launch(other)
    assert house.pid() == old
    for one in (ticket, other):
        successor.stop(one.run_id)
        house.server.exit_of(one)
    eventually(lambda: (answer := house.supervisor()) is None or answer.exits == 0)
    successor.close()
    successor.launch(house.ticket("work:note", parameters={"path": str(house.notes)}))
    assert house.pid() != old
    successor.close()
    assert not alive(old)


def test_a_run_without_code_cannot_be_launched(house: Household) -> None:
    with pytest.raises(Unavailable, match="has no archived code"):
        house.launcher.launch(house.ticket("work:note", code=None))


def test_a_supervisor_that_cannot_start_is_an_error_that_says_where_to_look(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_LEASE", "long")
    with pytest.raises(Unavailable, match=r"could not be started; .*supervisor\.log says why"):
        house.launcher.launch(house.ticket("work:note"))
    assert "PENSTOCK_LEASE='long': expected a number." in house.log()
    with pytest.raises(Unavailable, match="does not answer"):
        LocalLauncher(str(house.home), house.address, python="/nowhere/python").launch(house.ticket("work:note"))


def test_a_supervisor_that_hangs_is_not_waited_for(house: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    house.server.exit_of(house.launch("work:note", parameters={"path": str(house.notes)}))
    monkeypatch.setattr(local, "ANSWER", 0.1)
    pid = house.pid()
    os.kill(pid, signal.SIGSTOP)
    hasty = LocalLauncher(str(house.home), house.address)
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            hasty.launch(house.ticket("work:note", parameters={"path": str(house.notes)}))
    finally:
        os.kill(pid, signal.SIGCONT)
    hasty.close()


def test_letting_go_starts_nothing(house: Household) -> None:
    house.launcher.close()
    assert house.supervisor() is None
    assert not (house.home / "logs").exists()


def test_only_the_owner_can_reach_the_supervisor(house: Household) -> None:
    house.server.exit_of(house.launch("work:note", parameters={"path": str(house.notes)}))
    assert socket_path(house.home, "supervisor.sock").stat().st_mode & 0o077 == 0
    assert (house.home / "logs" / "supervisor.log").stat().st_mode & 0o077 == 0


def test_nonsense_on_the_socket_harms_nobody(house: Household) -> None:
    house.server.exit_of(house.launch("work:note", parameters={"path": str(house.notes)}))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(socket_path(house.home, "supervisor.sock")))
        lines = connection.makefile("rb")
        for nonsense in (b"hello\n", b'{"op": "explode"}\n', b'{"op": "launch"}\n', b"\xff\xfe\n"):
            connection.sendall(nonsense)
            assert b'"ok":false' in lines.readline()
    assert house.server.exit_of(house.launch("work:note", parameters={"path": str(house.notes)})).status == 0


def test_a_deep_home_has_its_sockets_in_a_private_place(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    path = socket_path(deep, "supervisor.sock")
    assert not path.is_relative_to(home)
    claim_directory(path.parent, str(deep))
    project = tmp_path / "project"
    project.mkdir()
    (project / "work.py").write_text("def note(): pass\n")
    with household(deep, project, tmp_path, monkeypatch) as house:
        assert house.server.exit_of(house.launch("work:note")).status == 0
        assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.rmdir()


def test_a_place_that_somebody_else_may_enter_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "penstock-0" / "tag"
    claim_directory(mine, "/home")
    claim_directory(mine, "/home")
    mine.chmod(0o755)
    with pytest.raises(Unavailable, match="is not a private directory of yours"):
        claim_directory(mine, "/home")
    mine.rmdir()
    mine.symlink_to(tmp_path)
    with pytest.raises(Unavailable, match="is not a private directory of yours"):
        claim_directory(mine, "/home")
