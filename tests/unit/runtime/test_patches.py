from __future__ import annotations

import asyncio
import io
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from penstock.runtime import patches
from penstock.runtime.logs import Capture
from penstock.runtime.streams import Router
from tests.unit.runtime.capturing import Log, quiet

pytestmark = pytest.mark.usefixtures("restored")


# Logging


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("test of logs")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()


def test_a_handler_made_earlier_finds_the_step(
    log: Log, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    original = handler.stream
    with quiet(log) as capture, capture.step("a"):
        logger.info("in the step")
    assert handler.stream is original
    logger.info("outside")
    assert log.of("a", "stderr") == ["in the step"]
    assert capsys.readouterr().err == "outside\n"


def test_a_handler_made_inside_works_after(
    log: Log, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    with quiet(log) as capture, capture.step("a"):
        logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.info("in the step")
    logger.info("outside")
    assert log.of("a") == ["in the step"]
    assert capsys.readouterr().out == "outside\n"


def test_a_handler_to_elsewhere_is_left_alone(log: Log, logger: logging.Logger) -> None:
    buffer = io.StringIO()
    logger.addHandler(logging.StreamHandler(buffer))
    with quiet(log) as capture, capture.step("a"):
        logger.info("in the step")
    assert buffer.getvalue() == "in the step\n"
    assert log.lines == []


# Processes


def test_the_output_of_a_process_comes_before_what_is_printed_after_it(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        for number in range(5):
            subprocess.run(["sh", "-c", f"echo out {number}; echo err {number} >&2; printf rest"], check=True)
            print("next", number)
    assert log.of("a", "stdout") == [
        text for number in range(5) for text in (f"out {number}", "rest", f"next {number}")
    ]
    assert log.of("a", "stderr") == [f"err {number}" for number in range(5)]


def test_what_user_code_asked_for_it_gets(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        assert subprocess.check_output(["echo", "mine"]) == b"mine\n"
        assert subprocess.run(["sh", "-c", "echo a; echo b >&2"], capture_output=True, check=True).stderr == b"b\n"
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.communicate("through")[0] == "through"
        subprocess.run(["echo", "nobody's"], stdout=subprocess.DEVNULL, check=True)
        process = subprocess.Popen(["true"], -1, None, None, None, None)  # by position
        assert process.wait() == 0
        assert (process.stdout, process.stderr) == (None, None)
    assert log.lines == []


def test_streams_given_by_name_are_the_steps(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        subprocess.run(["sh", "-c", "echo a; echo b >&2"], stdout=sys.stderr, stderr=subprocess.STDOUT, check=True)
        subprocess.run(["echo", "c"], stdout=sys.stdout, check=True)
    assert log.of("a", "stderr") == ["a", "b"]
    assert log.of("a", "stdout") == ["c"]


def test_a_process_that_cannot_be_started_leaves_nothing(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(FileNotFoundError):
            subprocess.run(["no such program"], check=True)
        with pytest.raises(TypeError):
            subprocess.Popen()  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            subprocess.Popen(["true"], nonsense=1)  # type: ignore[call-overload]
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_shell_command(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        assert os.system("echo shell; echo wrong >&2; exit 3") == 3 << 8
        assert os.system("kill -9 $$") == 9
        print("after")
    assert log.of("a", "stdout") == ["shell", "after"]
    assert log.of("a", "stderr") == ["wrong"]


def test_much_output_of_a_process_is_neither_lost_nor_waited_for(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        subprocess.run(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"], check=True)
    assert log.of("a") == [f"line {number}" for number in range(20_000)]


def test_a_process_of_asyncio(log: Log) -> None:
    async def run() -> None:
        process = await asyncio.create_subprocess_exec("echo", "from asyncio")
        await process.wait()

    with quiet(log) as capture, capture.step("a"):
        asyncio.run(run())
    assert log.of("a") == ["from asyncio"]


def test_a_process_that_outlives_the_run_is_not_ended_by_that(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        process = subprocess.Popen(
            ["sh", "-c", "echo begun; read go; echo nobody hears it; exit 7"], stdin=subprocess.PIPE
        )
        log.wait_for("begun")
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.close()
    assert process.wait(20) == 7
    assert log.of("a") == ["begun"]


def test_processes_elsewhere_keep_their_descriptors(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    with quiet(log):
        thread = threading.Thread(target=lambda: None)
        entered = threading.Event()
    results: list[int] = []

    def stranger() -> None:
        entered.wait()
        results.append(subprocess.run(["echo", "mine"], check=True).returncode)

    thread = threading.Thread(target=stranger)
    thread.start()
    with quiet(log):
        entered.set()
        thread.join()
    assert results == [0]
    assert log.lines == []
    assert capfd.readouterr().out == "mine\n"


# Threads


def test_threads_stand_where_they_were_started(log: Log) -> None:
    def work(depth: int) -> None:
        print("depth", depth)
        if depth:
            thread = threading.Thread(target=work, args=(depth - 1,))
            thread.start()
            thread.join()

    class Own(threading.Thread):
        def run(self) -> None:
            print("own run")

    with quiet(log) as capture, capture.step("a"):
        work(2)
        own = Own()
        own.start()
        own.join()
        assert "run" not in vars(own)
        with pytest.raises(RuntimeError, match="once"):
            own.start()
        timer = threading.Timer(0, print, ["timer"])
        timer.start()
        timer.join()
        asyncio.run(asyncio.to_thread(print, "to_thread"))
    assert log.of("a") == ["depth 2", "depth 1", "depth 0", "own run", "timer", "to_thread"]


def test_a_pool_works_for_whoever_submitted(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(1) as pool:
        with quiet(log) as capture:
            for step in ("a", "b"):
                with capture.step(step):
                    pool.submit(print, "for", step).result()
                    list(pool.map(print, ["mapped"]))
            pool.submit(print, "for the run").result()
        pool.submit(print, "for nobody").result()
    assert log.of("a") == ["for a", "mapped"]
    assert log.of("b") == ["for b", "mapped"]
    assert log.of(None) == ["for the run"]
    assert capsys.readouterr().out == "for nobody\n"


def test_a_thread_that_outlives_the_capture_prints_where_it_would_have(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    go = threading.Event()

    def work() -> None:
        print("inside")
        go.wait()
        print("after")

    with quiet(log) as capture, capture.step("a"):
        thread = threading.Thread(target=work)
        thread.start()
        log.wait_for("inside")
    go.set()
    thread.join()
    assert log.of("a") == ["inside"]
    assert capsys.readouterr().out == "after\n"


# Forks


def in_child(work: Callable[[], None]) -> int:
    """Do `work` in a forked child; its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of later versions of Python, for forks beside threads
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(99)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_is_free_of_its_parents_capture(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        print("from the child", flush=True)
        assert not isinstance(sys.stdout, Router)
        assert patches._captures == []
        subprocess.run(["echo", "from its child"], check=True)
        thread = threading.Thread(target=lambda: print("from its thread", flush=True))
        thread.start()
        thread.join()

    with quiet(log) as capture, capture.step("a"):
        print("from the parent")
        assert in_child(work) == 0
    assert log.of("a") == ["from the parent"]
    assert capfd.readouterr().out == "from the child\nfrom its child\nfrom its thread\n"


def test_a_forked_child_may_unwind_its_parents_stack(log: Log) -> None:
    def run() -> int:
        with quiet(log) as capture, capture.step("a"):
            child = os.fork()
            if child == 0:
                raise SystemExit
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    try:
        assert run() == 0
    except SystemExit:
        os._exit(0)


def test_a_forked_child_may_capture_for_itself(log: Log, tmp_path: Any) -> None:
    def work() -> None:
        own = Log()
        with Capture(own, own_process=True, tee=False) as capture, capture.step("in the child"):
            print("captured")
            os.write(1, b"raw\n")
        (tmp_path / "seen").write_text("\n".join(own.of("in the child")))

    with quiet(log) as capture, capture.step("a"):
        assert in_child(work) == 0
    assert (tmp_path / "seen").read_text() == "captured\nraw"
    assert log.lines == []
