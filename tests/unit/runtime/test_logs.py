"""Captures in the caller's own process; `test_logs_own_process.py` has those that take a whole process."""

from __future__ import annotations

import asyncio
import copy
import io
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from typing import Any

import pytest

from penstock.model.run import LogLine
from penstock.runtime import lines, patches
from penstock.runtime.logs import Capture
from penstock.runtime.streams import Router


class Log:
    """A sink that can be waited for."""

    def __init__(self) -> None:
        self.batches: list[list[LogLine]] = []
        self._changed = threading.Condition()

    def __call__(self, batch: list[LogLine]) -> None:
        with self._changed:
            self.batches.append(batch)
            self._changed.notify_all()

    @property
    def lines(self) -> list[LogLine]:
        return [line for batch in self.batches for line in batch]

    def of(self, step: str | None, stream: str | None = None) -> list[str]:
        return [line.text for line in self.lines if line.step == step and stream in (None, line.stream)]

    def wait_for(self, text: str) -> LogLine:
        def found() -> LogLine | None:
            return next((line for line in self.lines if line.text == text), None)

        with self._changed:
            assert self._changed.wait_for(found, timeout=20), f"{text!r} never came; {self.lines}"
        line = found()
        assert line is not None
        return line


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture(autouse=True)
def _everything_is_restored() -> Iterator[None]:
    def state() -> list[Any]:
        return [
            sys.stdout,
            sys.stderr,
            subprocess.Popen.__init__,
            subprocess.Popen.wait,
            threading.Thread.start,
            ThreadPoolExecutor.submit,
            os.system,
            logging.lastResort,
            logging.root.level,
        ]

    before = state()
    yield
    assert state() == before
    assert patches._undo == []


def quiet(log: Log) -> Capture:
    return Capture(log, own_process=False, tee=False)


# Ways of printing


def test_print_belongs_to_the_step(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    with quiet(log) as capture:
        print("before")
        with capture.step("train"):
            print("in", "it")
            print("wrong", file=sys.stderr)
        print("after")
    assert [(line.step, line.stream, line.text) for line in log.lines] == [
        (None, "stdout", "before"),
        ("train", "stdout", "in it"),
        ("train", "stderr", "wrong"),
        (None, "stdout", "after"),
    ]
    assert all(line.at.tzinfo is not None for line in log.lines)
    assert capsys.readouterr() == ("", "")


def test_what_is_printed_elsewhere_is_nobodys_business(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    entered, printed = threading.Event(), threading.Event()

    def stranger() -> None:
        entered.wait()
        print("mine")
        printed.set()

    thread = threading.Thread(target=stranger)
    thread.start()
    with quiet(log):
        entered.set()
        assert printed.wait(20)
    thread.join()
    print("later")
    assert log.lines == []
    assert capsys.readouterr().out == "mine\nlater\n"


def test_with_tee_the_person_sees_it_too(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    with Capture(log, own_process=False, tee=True) as capture, capture.step("train"):
        print("out")
        print("err", file=sys.stderr)
        sys.stdout.write("\r10%")
        subprocess.run(["sh", "-c", "echo child"], check=True)
    assert capsys.readouterr() == ("out\n\r10%child\n", "err\n")
    assert sorted(log.of("train")) == ["10%", "child", "err", "out"]


def test_bytes(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        text = "é€\N{GRINNING FACE}\n".encode()
        for at in range(len(text)):
            sys.stdout.buffer.write(text[at : at + 1])
        sys.stdout.buffer.write(memoryview(b"\xff\n"))
        sys.stderr.buffer.writelines([b"x", b"y\n"])
        sys.stdout.buffer.flush()
    assert log.of("a") == ["é€\N{GRINNING FACE}", "\ufffd", "xy"]


def test_bytes_without_a_capture_go_where_they_went(log: Log, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with quiet(log):
        thread = threading.Thread(target=lambda: None)
        router = sys.stdout
    thread.start()
    thread.join()
    router.buffer.write(b"\xff\n")
    router.flush()
    assert capfdbinary.readouterr().out == b"\xff\n"


def test_what_is_no_text_can_be_printed(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        print("nul \0 surrogate \ud800")
    assert log.of("a") == ["nul \ufffd surrogate \ufffd"]


def test_a_terminal_that_lacks_a_character_does_not_fail_the_step(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", shown)
    with Capture(log, own_process=False, tee=True) as capture, capture.step("a"):
        print("é")
        shown.close()
        print("nobody there")
    assert log.of("a") == ["é", "nobody there"]
    monkeypatch.undo()


def test_the_stand_in_behaves_like_a_stream(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        encoding = "latin-1"

        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 77

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with quiet(log):
        assert isinstance(sys.stdout, io.TextIOBase)
        assert not sys.stdout.isatty()
        assert sys.stdout.fileno() == 77
        assert sys.stdout.writable()
        assert not sys.stdout.closed
        assert sys.stdout.encoding == "latin-1"
        assert sys.stdout.write("abc") == 3
        assert sys.stdout.buffer.write(b"abc\n") == 4
        with pytest.raises(TypeError, match="must be str, not bytes"):
            sys.stdout.write(b"x")  # type: ignore[arg-type]
        sys.stdout.close()
        sys.stdout.writelines(["x", "y\n"])
        assert sys.stdout.getvalue() == ""  # type: ignore[attr-defined]
    assert log.of(None) == ["abcabc", "xy"]
    with Capture(log, own_process=False, tee=True):
        assert sys.stdout.isatty()
    monkeypatch.undo()


def test_a_process_without_streams_can_be_captured(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with Capture(log, own_process=False, tee=True) as capture, capture.step("a"):
        print("to nowhere")
        sys.stdout.flush()
        assert not sys.stdout.isatty()
        with pytest.raises(io.UnsupportedOperation):
            sys.stdout.fileno()
        router = sys.stdout
    print("still nowhere", file=router)
    assert sys.stdout is None
    assert log.of("a") == ["to nowhere"]
    monkeypatch.undo()


def test_the_stand_in_can_be_copied_and_pickled(log: Log) -> None:
    before = sys.stdout
    with quiet(log):
        assert copy.deepcopy(sys.stdout) is sys.stdout
        data = pickle.dumps({"stream": sys.stderr})
    assert pickle.loads(data)["stream"] is sys.stderr
    assert sys.stdout is before


def test_a_redirection_by_user_code_is_respected(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        buffer = io.StringIO()
        with redirect_stdout(buffer):
            print("for the buffer")
        print("for the log")
    assert buffer.getvalue() == "for the buffer\n"
    assert log.of("a") == ["for the log"]


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


def test_parallel_steps_are_told_apart(log: Log) -> None:
    start = threading.Barrier(8)

    def work(capture: Capture, step: str) -> None:
        with capture.step(step):
            start.wait()
            for number in range(300):
                print(step, "says", number)
                if number % 100 == 0:
                    subprocess.run(["echo", f"{step} process {number}"], check=True)

    with quiet(log) as capture, ThreadPoolExecutor(8) as pool:
        for at in range(8):
            pool.submit(work, capture, f"step {at}")
    for at in range(8):
        step = f"step {at}"
        expected = []
        for number in range(300):
            expected.append(f"{step} says {number}")
            if number % 100 == 0:
                expected.append(f"{step} process {number}")
        assert log.of(step) == expected


def test_parallel_steps_do_not_mix_on_the_terminal(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    start = threading.Barrier(4)

    def work(capture: Capture, step: str) -> None:
        with capture.step(step):
            start.wait()
            for number in range(200):
                print(step, "says", number, "and", "more", end="!\n")
            start.wait()
            print(step, "has no end", end="")

    with Capture(log, own_process=False, tee=True) as capture, ThreadPoolExecutor(4) as pool:
        for at in range(4):
            pool.submit(work, capture, f"s{at}")
    shown = capsys.readouterr().out
    for at in range(4):
        for number in range(200):
            assert f"s{at} says {number} and more!\n" in shown
        assert f"s{at} has no end" in shown
    assert len(shown) == sum(len(line.text) + 1 for line in log.lines) - 4


def test_runs_at_once_in_one_process_get_their_own_lines() -> None:
    start = threading.Barrier(6)
    logs = [Log() for _ in range(6)]

    def run(at: int) -> None:
        with quiet(logs[at]) as capture:
            start.wait()
            for number in range(100):
                print("run", at)
                with capture.step("same name"):
                    print("step of", at, number)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for at, log in enumerate(logs):
        assert log.of(None) == [f"run {at}"] * 100
        assert log.of("same name") == [f"step of {at} {number}" for number in range(100)]


def test_a_run_inside_of_a_step_has_its_own_log(log: Log) -> None:
    inner_log = Log()
    with quiet(log) as outer, outer.step("outer"):
        print("before")
        with quiet(inner_log) as inner, inner.step("inner"):
            print("inside")
        print("after")
    assert log.of("outer") == ["before", "after"]
    assert inner_log.of("inner") == ["inside"]
    assert len(log.lines) + len(inner_log.lines) == 3


def test_tasks_of_one_loop_are_told_apart(log: Log) -> None:
    async def work(capture: Capture, step: str) -> None:
        with capture.step(step):
            for _ in range(3):
                print(step)
                await asyncio.sleep(0)

    async def main(capture: Capture) -> None:
        await asyncio.gather(work(capture, "a"), work(capture, "b"))

    with quiet(log) as capture:
        asyncio.run(main(capture))
    assert (log.of("a"), log.of("b")) == (["a"] * 3, ["b"] * 3)


# Delivery


def test_lines_come_while_the_step_is_running(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        print("first")
        log.wait_for("first")
        print("unfinished", end="")
        log.wait_for("unfinished")
        subprocess_line = subprocess.Popen(["sh", "-c", "echo running; read never"], stdin=subprocess.PIPE)
        log.wait_for("running")
        subprocess_line.communicate(b"\n")
    assert log.of("a") == ["first", "unfinished", "running"]


def test_a_progress_bar_is_one_line(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        for number in range(101):
            print(f"\r{number}%", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        print("done")
    assert log.of("a") == ["100%", "done"]


def test_lines_travel_in_batches(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        for number in range(1000):
            print(number)
    assert log.of("a") == [str(number) for number in range(1000)]
    assert len(log.batches) < 20
    assert all(log.batches)


def test_a_flood_is_cut_off_and_says_so(log: Log) -> None:
    with quiet(log) as capture:
        with capture.step("loud"):
            for _ in range(40):
                print("x" * 1_000_000)
            subprocess.run(["sh", "-c", "yes | head -c 20000000"], check=True)
            print("unheard")
        with capture.step("calm"):
            print("heard")
    kept = log.of("loud")
    assert sum(map(len, kept)) <= lines.STEP_LIMIT + 1000
    assert sum("penstock:" in text for text in kept) >= 1
    assert "unheard" not in kept
    assert log.of("calm") == ["heard"]


def test_more_than_can_be_taken_in_is_said(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    holding, go = threading.Event(), threading.Event()

    def slow(batch: list[LogLine]) -> None:
        log(batch)
        holding.set()
        go.wait(20)

    with Capture(slow, own_process=False, tee=False) as capture, capture.step("a"):
        print("first")
        assert holding.wait(20)
        for _ in range(30):
            print("\r" + "x" * 1_000_000, end="")  # a progress bar: nothing of it counts as kept
        go.set()
        log.wait_for("[penstock: the output came faster than it could be kept; some of it is missing here]")


def test_a_sink_that_fails_keeps_nobody_from_printing() -> None:
    def broken(batch: list[LogLine]) -> None:
        raise OSError("nobody there")

    def run() -> None:
        with Capture(broken, own_process=False, tee=False) as capture, capture.step("a"):
            print("one")
            subprocess.run(["sh", "-c", "yes | head -c 1000000"], check=True)

    with pytest.raises(OSError, match="nobody there"):
        run()
    assert not isinstance(sys.stdout, Router)


def test_an_error_passes_through(log: Log) -> None:
    def run() -> None:
        with quiet(log) as capture, capture.step("a"):
            print("before", end="")
            raise KeyError("x")

    with pytest.raises(KeyError):
        run()
    assert log.of("a") == ["before"]


def test_print_from_within_a_print(log: Log) -> None:
    class Loud:
        def __str__(self) -> str:
            print("from __str__")
            return "outer"

    with quiet(log) as capture, capture.step("a"):
        print(Loud())
    assert log.of("a") == ["from __str__", "outer"]


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


def test_a_print_takes_microseconds(log: Log) -> None:
    with quiet(log) as capture, capture.step("a"):
        print("wake")
        best = 1.0
        for _ in range(5):
            begun = time.perf_counter()
            for _ in range(200):
                print("a line")
            best = min(best, (time.perf_counter() - begun) / 200)
    assert best < 50e-6  # about 2 on a quiet machine
