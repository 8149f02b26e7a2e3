from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest

from penstock.model.launch import Orders
from penstock.runtime.ledger import Ledger
from tests.launching import Household, alive, eventually, household

WORK = """
    import ctypes, os, signal, subprocess, sys, threading, time

    def note(path, text=None):
        with open(path, "a") as file:
            file.write(f"{os.getpid() if text is None else text}\\n")

    def stay(path):
        note(path)
        while True:
            time.sleep(60)

    def stay_and_ignore(path):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            try:
                stay(path)
            except BaseException:
                pass

    def leave(status):
        os._exit(status)

    def crash():
        ctypes.string_at(0)

    def die(number):
        os.kill(os.getpid(), number)
        time.sleep(60)

    def daemon(path):
        # By forks alone, as daemons do: what it carries in its environment is only what it was born with.
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                stay(path)
            os._exit(0)
        os.wait()

    def leave_daemon(path):
        daemon(path)
        await_lines(path, 1)

    def leave_hidden_daemon(path):
        subprocess.run(["env", "-i", "setsid", "--fork", "sh", "-c", f"echo $$ >> {path}; sleep 600"], check=True)
        await_lines(path, 1)

    def leave_all_sorts(path):
        daemon(path)
        subprocess.Popen(["sh", "-c", f"echo $$ >> {path}; trap '' TERM; sleep 600; true"])
        subprocess.Popen([sys.executable, "-c", f"import time; print(file=open('{path}', 'a')); time.sleep(600)"])
        threading.Thread(target=time.sleep, args=(600,)).start()
        await_lines(path, 3)

    def stay_with_daemon(path):
        daemon(path)
        stay(path)

    def await_lines(path, count):
        while not (os.path.exists(path) and len(open(path).readlines()) >= count):
            time.sleep(0.005)

    def wait_for(path, gate):
        note(path)
        while not os.path.exists(gate):
            time.sleep(0.005)

    def show_secrets(path):
        note(path, sorted(name for name in os.environ if name.startswith("PENSTOCK_")))
        note(path, os.environ["PENSTOCK_RUN_ID"])
        note(path, "secret-of-one-run" in open("/proc/self/cmdline").read() + str(os.environ))
        note(path, os.read(0, 10))
        note(path, oct(os.umask(0)))
"""


@pytest.fixture
def house(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Household]:
    project = tmp_path / "project"
    project.mkdir()
    (project / "work.py").write_text(dedent(WORK))
    (project / "threads.py").write_text("import threading, time\nfrom work import *\n")
    with (project / "threads.py").open("a") as file:
        file.write("threading.Thread(target=time.sleep, args=(600,), daemon=True, name='poller').start()\n")
    (project / "broken.py").write_text("raise RuntimeError('the module is broken')\n")
    (project / "deadly.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    (project / "slow.py").write_text(
        "import os, time\nfrom work import *\n"
        "open(os.environ['PENSTOCK_HOME'] + '/importing', 'a').write('x')\n"
        "while not os.path.exists(os.environ['PENSTOCK_HOME'] + '/go'): time.sleep(0.005)\n"
    )
    with household(home, project, tmp_path, monkeypatch) as made:
        yield made


def held(house: Household) -> set[str]:
    answer = house.supervisor()
    return {one.run_id for one in answer.held} if answer else set()


def noting(house: Household, **more: object) -> dict[str, object]:
    return {"path": str(house.notes), **more}


def test_a_run_is_a_process_of_its_own_whose_end_is_reported(house: Household) -> None:
    first = house.launch("work:note", parameters=noting(house))
    second = house.launch("work:note", parameters=noting(house))
    ended = house.server.exit_of(first)
    assert (ended.status, ended.signal, ended.launched) == (0, None, True)
    house.server.exit_of(second)
    assert len(set(house.noted(2))) == 2
    assert str(house.pid()) not in house.noted(2)


@pytest.mark.parametrize("launch", ["fork", "spawn"])
@pytest.mark.parametrize(
    ("source", "parameters", "status", "number", "words"),
    [
        ("work:leave", {"status": 3}, 3, None, "exited with status 3 before it reported its end"),
        ("work:crash", {}, None, signal.SIGSEGV, "was killed by SIGSEGV (segmentation fault)"),
        ("work:die", {"number": signal.SIGABRT}, None, signal.SIGABRT, "was killed by SIGABRT (aborted)"),
        ("work:die", {"number": signal.SIGKILL}, None, signal.SIGKILL, "most often the kernel's out-of-memory killer"),
        ("work:nothing", {}, None, None, ""),
    ],
)
def test_how_a_process_ended_is_said_in_words(
    house: Household,
    monkeypatch: pytest.MonkeyPatch,
    launch: str,
    source: str,
    parameters: dict[str, object],
    status: int | None,
    number: int | None,
    words: str,
) -> None:
    monkeypatch.setenv("PENSTOCK_LAUNCH", launch)
    ended = house.server.exit_of(house.launch(source, parameters=parameters))
    assert ended.launched
    assert words in ended.failure
    if source != "work:nothing":
        assert (ended.status, ended.signal) == (status, number)
    else:
        assert ended.status not in (0, None)
        assert "AttributeError" in house.log()


def test_stopping_asks_first_and_then_kills(house: Household) -> None:
    polite = house.launch("work:stay", parameters=noting(house), grace=30.0)
    rude = house.launch("work:stay_and_ignore", parameters=noting(house), grace=0.2)
    pids = [int(line) for line in house.noted(2)]
    house.launcher.stop(polite.run_id)
    house.launcher.stop(rude.run_id)
    house.launcher.stop(rude.run_id)
    assert house.server.exit_of(polite).signal == signal.SIGTERM
    assert house.server.exit_of(rude).signal == signal.SIGKILL
    assert house.server.exit_of(rude).failure == "was stopped (cancelled)"
    assert not any(map(alive, pids))


def test_stopping_ends_daemons_too(house: Household) -> None:
    ticket = house.launch("work:stay_with_daemon", parameters=noting(house))
    pids = [int(line) for line in house.noted(2)]
    house.launcher.stop(ticket.run_id)
    house.server.exit_of(ticket)
    assert not any(map(alive, pids))


def test_a_stopped_process_can_be_ended(house: Household) -> None:
    ticket = house.launch("work:stay", parameters=noting(house), grace=30.0)
    os.kill(int(house.noted()[0]), signal.SIGSTOP)
    house.launcher.stop(ticket.run_id)
    assert house.server.exit_of(ticket).signal == signal.SIGTERM


@pytest.mark.parametrize("source", ["leave_daemon", "leave_hidden_daemon", "leave_all_sorts"])
def test_nothing_outlives_its_run(house: Household, source: str) -> None:
    ticket = house.launch(f"work:{source}", parameters=noting(house))
    assert house.server.exit_of(ticket).status == 0
    pids = [int(line) for line in house.noted() if line]
    assert not any(map(alive, pids))
    eventually(lambda: {*house.processes()} == house.staff())


def test_what_one_run_leaves_is_ended_without_harm_to_another(house: Household) -> None:
    gate = house.home / "gate"
    other = house.launch("work:stay_with_daemon", parameters=noting(house))
    mine = [int(line) for line in house.noted(2)]
    assert house.server.exit_of(house.launch("work:note", parameters=noting(house))).status == 0
    theirs = house.home / "theirs"
    house.server.exit_of(house.launch("work:leave_daemon", parameters={"path": str(theirs)}))
    assert not alive(int(theirs.read_text()))
    assert all(map(alive, mine))
    gate.touch()
    house.launcher.stop(other.run_id)
    house.server.exit_of(other)


def test_the_same_claim_is_carried_out_once(house: Household) -> None:
    ticket = house.launch("work:note", parameters=noting(house))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(house.launcher.launch, [ticket] * 8))
    house.server.exit_of(ticket)
    house.launcher.launch(ticket)
    again = house.launch("work:note", parameters=noting(house))
    house.server.exit_of(again)
    assert len(house.noted()) == 2


def test_a_newer_claim_waits_for_the_end_of_the_older(house: Household) -> None:
    old = house.launch("work:stay_and_ignore", parameters=noting(house), lease=0.6)
    [pid] = house.noted()
    new = house.ticket("work:note", run_id=old.run_id, fence=2, parameters=noting(house))
    house.launcher.launch(new)
    assert house.server.exit_of(new).status == 0
    assert house.server.exit_of(old).signal == signal.SIGKILL
    assert not alive(int(pid))
    assert len(house.noted()) == 2


def test_the_server_stops_runs_in_its_answers(house: Household) -> None:
    cancelled = house.launch("work:stay", parameters=noting(house))
    stale = house.launch("work:stay_and_ignore", parameters=noting(house), lease=0.6, grace=60.0)
    house.noted(2)
    house.server.orders = Orders(stop={cancelled.run_id: "cancelled", stale.run_id: "stale"})
    assert house.server.exit_of(cancelled).failure == "was stopped (cancelled)"
    assert house.server.exit_of(stale).failure == "was stopped (stale)"


def test_heartbeats_name_every_run_that_is_held(house: Household) -> None:
    tickets = [house.launch("work:stay", parameters=noting(house), fence=fence, lease=0.5) for fence in (1, 2)]
    house.noted(2)
    reports = len(house.server.reports)
    eventually(lambda: len(house.server.reports) > reports + 2)
    wanted = {(ticket.run_id, ticket.fence) for ticket in tickets}
    assert {(one.run_id, one.fence) for one in house.server.reports[-1].held} == wanted
    for ticket in tickets:
        house.launcher.stop(ticket.run_id)


def test_a_server_that_was_away_hears_of_every_exit(house: Household) -> None:
    gate = house.home / "gate"
    running = house.launch("work:wait_for", parameters=noting(house, gate=str(gate)), lease=0.5)
    house.noted()
    house.server.go()
    crashed = house.launch("work:crash", lease=0.5)
    gate.touch()
    eventually(lambda: eventually(house.supervisor).exits == 2)
    assert not house.server.exits
    house.server.come()
    assert house.server.exit_of(running).status == 0
    assert house.server.exit_of(crashed).signal == signal.SIGSEGV
    eventually(lambda: eventually(house.supervisor).exits == 0)


def test_runs_end_with_their_warm_parent(house: Household) -> None:
    ticket = house.launch("work:stay_with_daemon", parameters=noting(house))
    pids = [int(line) for line in house.noted(2)]
    [parent] = eventually(house.supervisor).parents
    os.kill(parent, signal.SIGKILL)
    ended = house.server.exit_of(ticket)
    assert ended.launched
    assert ended.failure.startswith("was killed, because its warm parent was killed by SIGKILL")
    assert not any(map(alive, pids))
    assert house.server.exit_of(house.launch("work:note", parameters=noting(house))).status == 0
    eventually(lambda: {one.name for one in (house.home / "work").iterdir()} == _warm_places(house))
    assert f"warm-{parent}" not in _warm_places(house)


def test_runs_end_with_their_supervisor_and_the_next_one_says_so(house: Household) -> None:
    ticket = house.launch("work:stay_with_daemon", parameters=noting(house))
    pids = [int(line) for line in house.noted(2)]
    supervisor = house.pid()
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: not any(map(alive, pids)))
    after = house.launch("work:note", parameters=noting(house))
    assert house.server.exit_of(after).status == 0
    lost = house.server.exit_of(ticket)
    assert (lost.launched, lost.status, lost.failure) == (
        True,
        None,
        "was lost: the supervisor of its machine was killed",
    )
    assert house.pid() != supervisor
    house.launcher.launch(ticket)
    assert len(house.noted()) == 3


def test_an_order_that_may_have_reached_a_killed_supervisor_is_not_repeated(house: Household) -> None:
    ticket = house.ticket("work:note", parameters=noting(house))
    Ledger(str(house.home)).open(ticket.run_id, ticket.fence)
    house.launcher.launch(ticket)
    assert house.server.exit_of(ticket).failure.startswith("was lost")
    assert not house.notes.exists()


def test_sigterm_ends_everything_and_reports_it(house: Household) -> None:
    ticket = house.launch("work:stay_and_ignore", parameters=noting(house), grace=60.0)
    importing = house.launch("slow:note", parameters=noting(house))
    eventually((house.home / "importing").exists)
    house.noted()
    supervisor = house.pid()
    os.kill(supervisor, signal.SIGTERM)
    assert "told to leave" in house.server.exit_of(ticket).failure
    assert not house.server.exit_of(importing).launched
    eventually(lambda: not alive(supervisor))
    assert not house.processes()


def test_it_leaves_when_it_is_let_go_and_holds_nothing(house: Household) -> None:
    ticket = house.launch("work:stay", parameters=noting(house))
    house.noted()
    supervisor = house.pid()
    house.launcher.close()
    assert held(house) == {ticket.run_id}
    house.launcher.stop(ticket.run_id)
    eventually(lambda: not alive(supervisor))
    assert not house.processes()
    house.launcher.close()
    assert house.supervisor() is None


def test_it_leaves_when_no_server_has_been_there_for_long(house: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_LEASE", "0.05")
    ticket = house.launch("work:stay", parameters=noting(house), lease=0.5)
    house.noted()
    house.server.go()
    supervisor = house.pid()
    house.launcher.stop(ticket.run_id)
    eventually(lambda: not alive(supervisor))
    house.server.come()
    house.launch("work:note", parameters=noting(house))
    assert house.server.exit_of(ticket).failure == "was stopped (cancelled)"


def test_it_leaves_when_its_home_is_removed(house: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_LEASE", "0.2")
    house.server.exit_of(house.launch("work:note", parameters=noting(house)))
    supervisor = house.pid()
    (house.home / "supervisor.sock").unlink()
    eventually(lambda: not alive(supervisor))


def test_only_so_many_idle_warm_parents_are_kept(
    house: Household, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_WARM_PARENTS", "2")
    codes = []
    for number in range(3):
        project = tmp_path / f"project-{number}"
        project.mkdir()
        (project / "work.py").write_text(dedent(WORK) + f"\nNUMBER = {number}\n")
        codes.append(house.archive(project))
    gate = house.home / "gate"
    waiting = [house.launch("work:wait_for", code=code, parameters=noting(house, gate=str(gate))) for code in codes]
    house.noted(3)
    assert len(eventually(house.supervisor).parents) == 3
    gate.touch()
    for ticket in waiting:
        house.server.exit_of(ticket)
    eventually(lambda: len(eventually(house.supervisor).parents) == 2)
    kept = set(eventually(house.supervisor).parents)
    house.server.exit_of(house.launch("work:note", code=codes[2], parameters=noting(house)))
    assert set(eventually(house.supervisor).parents) == kept


def test_an_import_error_is_the_runs_own_failure(house: Household) -> None:
    ended = house.server.exit_of(house.launch("broken:main"))
    assert (ended.launched, ended.status) == (True, 70)
    assert house.log().count("RuntimeError: the module is broken") == 2
    assert house.server.exit_of(house.launch("work:note", parameters=noting(house))).status == 0
    assert len(eventually(house.supervisor).parents) == 1


def test_an_import_that_kills_is_the_runs_own_failure(house: Household) -> None:
    ended = house.server.exit_of(house.launch("deadly:main"))
    assert (ended.launched, ended.signal) == (True, signal.SIGSEGV)


def test_a_module_that_starts_threads_gets_a_new_interpreter_for_every_run(house: Household) -> None:
    for count in (1, 2):
        assert house.server.exit_of(house.launch("threads:note", parameters=noting(house))).status == 0
        assert len(set(house.noted(count))) == count
    assert "importing its code starts threads (poller)" in house.log()
    eventually(lambda: eventually(house.supervisor).parents == [])


def test_runs_that_are_stopped_before_they_begin_never_run(house: Household) -> None:
    slow = house.launch("slow:note", parameters=noting(house))
    eventually((house.home / "importing").exists)
    waiting = house.launch("work:note", parameters=noting(house), grace=60.0)
    house.launcher.stop(waiting.run_id)
    (house.home / "go").touch()
    ended = house.server.exit_of(waiting)
    assert (ended.launched, ended.failure) == (False, "was cancelled before it started")
    assert house.server.exit_of(slow).status == 0
    assert len(house.noted()) == 1


def test_an_import_that_hangs_can_be_cancelled(house: Household) -> None:
    slow = house.launch("slow:note", parameters=noting(house), grace=0.1)
    eventually((house.home / "importing").exists)
    house.launcher.stop(slow.run_id)
    assert not house.server.exit_of(slow).launched
    eventually(lambda: eventually(house.supervisor).parents == [])
    assert not house.notes.exists()


@pytest.mark.parametrize("launch", ["fork", "spawn"])
def test_a_run_sees_no_credentials_but_its_own_id(
    house: Household, monkeypatch: pytest.MonkeyPatch, launch: str
) -> None:
    monkeypatch.setenv("PENSTOCK_LAUNCH", launch)
    monkeypatch.setenv("PENSTOCK_API_KEY", "psk_secret")
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", "postgresql://user:secret@host/db")
    ticket = house.launch("work:show_secrets", parameters=noting(house))
    names, run_id, visible, stdin, umask = house.noted(5)
    assert names == str(["PENSTOCK_HOME", "PENSTOCK_LAUNCH", "PENSTOCK_LEASE", "PENSTOCK_RUN_ID"])
    assert run_id == ticket.run_id
    assert visible == "False"
    assert stdin == str(b"")
    assert umask == oct(0o77)


def test_another_python_is_used_if_it_can_be(house: Household, tmp_path: Path) -> None:
    there = tmp_path / "python"
    there.write_text(f'#!/bin/sh\necho $$ >> {tmp_path}/used\nexec {sys.executable} "$@"\n')
    there.chmod(0o755)
    house.server.exit_of(house.launch("work:note", parameters=noting(house), executable=str(there)))
    assert (tmp_path / "used").exists()
    assert "note:" not in house.log()
    for missing in ("/nowhere/python", "/bin/false"):
        ended = house.server.exit_of(house.launch("work:note", parameters=noting(house), executable=missing))
        assert ended.status == 0
        assert f"note: {missing} cannot be used here" in house.log()
    beside = str(Path(sys.executable).with_name("python3"))
    house.server.exit_of(house.launch("work:note", parameters=noting(house), executable=beside))
    assert len(eventually(house.supervisor).parents) == 2


def test_code_that_cannot_be_had_means_that_nothing_ran(house: Household) -> None:
    ended = house.server.exit_of(house.launch("work:note", code="0" * 64))
    assert not ended.launched
    assert ended.failure.startswith("could not be started: ")


def test_working_directories_are_removed_however_the_run_ended(house: Household) -> None:
    (house.home / "work" / "left-by-a-killed-machine").mkdir(parents=True)
    for source, parameters in (("work:note", noting(house)), ("work:crash", {}), ("work:leave", {"status": 0})):
        house.server.exit_of(house.launch(source, parameters=parameters))
    eventually(lambda: {one.name for one in (house.home / "work").iterdir()} == _warm_places(house))
    house.launcher.close()
    eventually(lambda: house.supervisor() is None and not any((house.home / "work").iterdir()))


def _warm_places(house: Household) -> set[str]:
    return {f"warm-{pid}" for pid in eventually(house.supervisor).parents}


def test_forty_runs_at_once(house: Household) -> None:
    tickets = [house.launch("work:note", parameters=noting(house)) for _ in range(40)]
    assert {house.server.exit_of(ticket).status for ticket in tickets} == {0}
    assert len(set(house.noted(40))) == 40
    parents = eventually(house.supervisor).parents
    assert len(parents) == 1
    assert "Error" not in house.log().replace("SourceNotFound", "").replace("errors", "")
    eventually(lambda: {*house.processes()} == house.staff())
    assert eventually(house.supervisor).parents == parents
