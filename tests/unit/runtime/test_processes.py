from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.ids import new_id
from penstock.model.launch import NO_RUN, RUN_VARIABLE
from penstock.runtime import processes
from tests.launching import alive, eventually

Start = Callable[..., int]

TREE = """
import os, subprocess, sys, time
def sleeper(*wrapper, **options):
    code = "import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'a'), flush=True); time.sleep(600)"
    subprocess.Popen([*wrapper, sys.executable, "-c", code, sys.argv[1]], **options)
sleeper()
sleeper(start_new_session=True)
sleeper("env", "-i")
sleeper("env", "-i", "setsid")
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program as the process of a run; it is killed in the end."""
    started: list[int] = []

    def begin(code: str, *arguments: str, run_id: str, **environment: str) -> int:
        null = os.open(os.devnull, os.O_RDONLY)
        variables = {**os.environ, RUN_VARIABLE: run_id, **environment}
        pid = processes.start([sys.executable, "-c", code, *arguments], stdin=null, environment=variables)
        os.close(null)
        started.append(pid)
        return pid

    yield begin
    for pid in started:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def lines(path: Path, count: int) -> list[int]:
    """The pids in a file, once there are so many."""

    def read() -> list[int]:
        found = [int(line) for line in path.read_text().split()] if path.exists() else []
        return found if len(found) == count else []

    return eventually(read)


def wait_status(code: str) -> int:
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = 0
    return status


def test_a_started_program_leads_a_session_and_reads_its_input(tmp_path: Path) -> None:
    read, write = os.pipe()
    code = "import os, sys; open(sys.argv[1], 'w').write(f'{os.getsid(0) == os.getpid()} {sys.stdin.read()}')"
    pid = processes.start([sys.executable, "-c", code, str(tmp_path / "out")], stdin=read, environment=dict(os.environ))
    os.close(read)
    os.write(write, b"hello")
    os.close(write)
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / "out").read_text() == "True hello"


def test_a_program_that_is_not_there_cannot_be_started() -> None:
    with pytest.raises(FileNotFoundError):
        processes.start(["/nowhere/python"], stdin=0, environment={})


def test_the_whole_tree_of_a_run_is_ended(start: Start, tmp_path: Path) -> None:
    run_id = new_id()
    root = start(TREE, str(tmp_path / "pids"), run_id=run_id)
    pids = lines(tmp_path / "pids", 4)
    assert processes.end_run(run_id, root) == []
    assert not any(map(alive, [root, *pids]))


def test_grace_lets_processes_leave_by_themselves(start: Start, tmp_path: Path) -> None:
    run_id, said = new_id(), tmp_path / "said"
    code = (
        "import signal, sys, time\n"
        "def leave(*_): open(sys.argv[1], 'a').write('bye'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, leave); open(sys.argv[1], 'w').close()\n"
        "while True: time.sleep(1)"
    )
    root = start(code, str(said), run_id=run_id)
    eventually(said.exists)
    began = time.monotonic()
    assert processes.end_run(run_id, root, grace=30) == []
    assert said.read_text() == "bye"
    assert time.monotonic() - began < 20


def test_a_run_ends_alone(start: Start, tmp_path: Path) -> None:
    mine, other, outside = new_id(), new_id(), tmp_path / "outside"
    root = start(
        "import os, subprocess, sys, time\n"
        "code = \"import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'w'), flush=True); time.sleep(600)\"\n"
        f"environment = {{**os.environ, '{RUN_VARIABLE}': '{NO_RUN}'}}\n"
        "subprocess.Popen([sys.executable, '-c', code, sys.argv[1]], env=environment)\n"
        "time.sleep(600)",
        str(outside),
        run_id=mine,
    )
    neighbour = start("import time; time.sleep(600)", run_id=other)
    [server] = lines(outside, 1)
    processes.end_run(mine, root)
    assert alive(neighbour)
    assert alive(server)
    os.kill(server, signal.SIGKILL)


def test_what_an_earlier_supervisor_left_is_found_by_its_home(start: Start, home: Path) -> None:
    here = start("import time; time.sleep(600)", run_id=new_id(), PENSTOCK_HOME=str(home))
    warm = start("import time; time.sleep(600)", run_id=processes.PLACEHOLDER, PENSTOCK_HOME=str(home))
    server = start("import time; time.sleep(600)", run_id=NO_RUN, PENSTOCK_HOME=str(home))
    elsewhere = start("import time; time.sleep(600)", run_id=new_id(), PENSTOCK_HOME=f"{home}-other")
    assert processes.end_remains(str(home)) == []
    assert [alive(pid) for pid in (here, warm, server, elsewhere)] == [False, False, True, True]


def test_strays_are_ended_unless_they_are_somebodys(start: Start) -> None:
    stray = start("import time; time.sleep(600)", run_id=new_id())
    server = start("import time; time.sleep(600)", run_id=NO_RUN)
    other = start("import time; time.sleep(600)", run_id=new_id())
    assert {stray, server, other} <= processes.children()
    processes.end_strays({stray, server})
    assert [alive(pid) for pid in (stray, server, other)] == [False, True, True]


def test_a_fork_is_marked_though_the_system_shows_its_parents_environment(tmp_path: Path) -> None:
    run_id, out = new_id(), tmp_path / "out"
    code = f"""
import os
from penstock.runtime import processes
os.environ["PENSTOCK_RUN_ID"] = "changed by user code"
if os.fork() == 0:
    processes.mark({run_id!r})
    if os.fork() == 0:
        shown = open("/proc/self/environ").read().split(chr(0))
        open({str(out)!r}, "w").write(" ".join([os.environ["PENSTOCK_RUN_ID"], *shown]))
        os._exit(0)
    os.wait()
    os._exit(0)
os.wait()
"""
    environment = {**os.environ, RUN_VARIABLE: processes.PLACEHOLDER}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    text = out.read_text()
    assert text.startswith(run_id)
    assert f"{RUN_VARIABLE}={run_id}" in text.split()
    assert processes.PLACEHOLDER not in text


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a child with its parent")
def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    code = """
import os, sys, time
from penstock.runtime import processes
parent = os.getpid()
if os.fork() == 0:
    processes.die_with(parent)
    print(os.getpid(), file=open(sys.argv[1], "w"), flush=True)
    time.sleep(600)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pid")])
    [child] = lines(tmp_path / "pid", 1)
    parent.kill()
    parent.wait()
    eventually(lambda: not alive(child))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_orphans_come_to_who_adopts_them() -> None:
    code = """
import os, time
from penstock.runtime import processes
assert processes.adopt_orphans()
read, write = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.read(read, 1)
        os._exit(7)
    os._exit(0)
os.wait()
[orphan] = processes.children()
os.write(write, b"x")
assert os.waitpid(orphan, 0) == (orphan, 7 << 8)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("code", "status", "number", "words"),
    [
        ("import os; os._exit(0)", 0, None, "exited with status 0 before it reported its end"),
        ("import sys; sys.exit(3)", 3, None, "exited with status 3 before it reported its end"),
        ("import ctypes; ctypes.string_at(0)", None, 11, "was killed by SIGSEGV (segmentation fault)"),
        ("import os; os.kill(os.getpid(), 15)", None, 15, "was killed by SIGTERM (terminated)"),
        (
            "import os; os.kill(os.getpid(), 9)",
            None,
            9,
            "was killed by SIGKILL: most often the kernel's out-of-memory killer",
        ),
        ("import os; os.kill(os.getpid(), 40)", None, 40, "was killed by signal 40 (real-time signal 6)"),
    ],
)
def test_endings_in_words(code: str, status: int | None, number: int | None, words: str) -> None:
    assert processes.ending(wait_status(code)) == processes.Ending(status, number, words)


def test_a_kill_for_want_of_memory_is_called_so() -> None:
    status = wait_status("import os; os.kill(os.getpid(), 9)")
    assert "ran out of memory" in processes.ending(status, out_of_memory=True).words


def test_no_memory_is_missed_where_nobody_was_killed() -> None:
    assert not processes.MemoryWatch(os.getpid()).killed()
    assert not processes.MemoryWatch(2**22 + 1).killed()


def _control_group() -> Path | None:
    """A control group of our own with 64 MB, where this machine lets us make one."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"penstock-test-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            if (group / limit).exists():
                (group / limit).write_text(str(64 << 20))
                with suppress(OSError):
                    (group / "memory.swap.max").write_text("0")
                return group
            group.rmdir()
    return None


def test_a_kill_for_want_of_memory_is_counted() -> None:
    group = _control_group()
    if group is None:
        pytest.skip("no control group for memory can be made here")
    try:
        code = "import sys; sys.stdin.readline(); data = b'x' * (1 << 30)"
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
        (group / "cgroup.procs").write_text(str(process.pid))
        watch = processes.MemoryWatch(process.pid)
        assert not watch.killed()
        process.communicate(b"go\n")
        assert process.returncode == -signal.SIGKILL
        assert watch.killed()
    finally:
        group.rmdir()
