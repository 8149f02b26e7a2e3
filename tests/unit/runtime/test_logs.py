"""Captures in the caller's own process; `test_logs_own_process.py` has those that take a whole process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.model.run import LogLine
from penstock.runtime import lines, logs
from penstock.runtime.logs import Capture
from penstock.runtime.streams import Router
from tests.unit.runtime.capturing import Log, quiet

pytestmark = pytest.mark.usefixtures("restored")


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


def test_parallel_steps_are_told_apart(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "QUIET", 60)  # a busy machine may hold up a thread in the middle of a line
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
    assert len(shown) == sum(len(line.text) + 1 for line in log.lines)


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
            for _ in range(20):
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
        for _ in range(100):
            print("\r" + "x" * 200_000, end="")  # a progress bar: nothing of it counts as kept
        go.set()
        log.wait_for("[penstock: the output came faster than it could be kept; some of it is missing here]")


def test_much_that_comes_slowly_is_not_too_much(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "STEP_LIMIT", 1000)
    with quiet(log) as capture, capture.step("a"):
        for number in range(5):
            print("\r" + "x" * 400 + f"\r{number}")
            log.wait_for(str(number))  # every round begins with nothing waiting
    assert log.of("a") == [str(number) for number in range(5)]


def test_a_sink_that_fails_keeps_nobody_from_printing() -> None:
    def broken(batch: list[LogLine]) -> None:
        raise OSError("nobody there")

    def run() -> None:
        with Capture(broken, own_process=False, tee=False) as capture, capture.step("a"):
            print("one")
            subprocess.run(["head", "-c", "1000000", "/dev/zero"], check=True)

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
