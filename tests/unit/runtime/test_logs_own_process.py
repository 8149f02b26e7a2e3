"""Captures that have a whole process: each test runs one in a process of its own and reads what it has captured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

_FRAME = """
import ctypes, json, logging, os, subprocess, sys, threading, time, warnings
from penstock.runtime.logs import Capture

lines = []
print("before the capture")
{before}
with Capture(lines.extend, own_process=True, tee={tee}) as capture:
{inside}
print("after the capture")
print("after, wrong", file=sys.stderr)
os.write(1, b"raw after\\n")
with open(sys.argv[1], "w") as file:
    json.dump([[line.step, line.stream, line.text] for line in lines], file)
"""


@dataclass(frozen=True)
class Seen:
    """What a process has captured, and what came out of it all the same."""

    lines: list[tuple[str | None, str, str]]
    out: str
    err: str

    def of(self, step: str | None) -> list[str]:
        return [text for own, _, text in self.lines if own == step]


Captured = Callable[..., Seen]


@pytest.fixture
def captured(tmp_path: Path) -> Captured:
    def run(inside: str, *, before: str = "", tee: bool = False) -> Seen:
        script = _FRAME.format(
            before=textwrap.dedent(before),
            inside=textwrap.indent(textwrap.dedent(inside), "    "),
            tee=tee,
        )
        found = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "lines")],
            env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return Seen([tuple(line) for line in json.loads((tmp_path / "lines").read_text())], found.stdout, found.stderr)

    return run


def test_everything_that_reaches_the_descriptors(captured: Captured) -> None:
    seen = captured("""
        print("run")
        with capture.step("a"):
            print("python")
            os.write(1, b"raw\\n")
            os.write(2, b"raw error\\n")
            os.system("echo shell; echo shell error >&2")
            print("after the shell")
            subprocess.run(["echo", "process"])
            print("after the process")
            ctypes.CDLL(None).puts(b"from C")
            ctypes.CDLL(None).fflush(None)
            print("original stream", file=sys.__stdout__)
        print("run again")
    """)
    assert seen.of(None) == ["run", "run again"]
    out = [text for step, stream, text in seen.lines if (step, stream) == ("a", "stdout")]
    out.remove("raw")  # it comes its own way, and so a little earlier or later
    assert out == ["python", "shell", "after the shell", "process", "after the process", "from C", "original stream"]
    assert sorted(text for step, stream, text in seen.lines if (step, stream) == ("a", "stderr")) == [
        "raw error",
        "shell error",
    ]
    assert sorted(seen.out.splitlines()) == ["after the capture", "before the capture", "raw after"]
    assert seen.err == "after, wrong\n"


def test_c_code_that_does_not_flush(captured: Captured) -> None:
    seen = captured("""
        with capture.step("a"):
            ctypes.CDLL(None).puts(b"from C")
    """)
    assert [text for _, _, text in seen.lines] == ["from C"]


def test_what_belongs_to_nobody_belongs_to_the_run(captured: Captured) -> None:
    seen = captured("""
        meeting = threading.Barrier(2)
        def work(step):
            with capture.step(step):
                meeting.wait()
                os.write(1, step.encode() + b" raw\\n")
                print(step)
                meeting.wait()
        threads = [threading.Thread(target=work, args=(step,)) for step in "ab"]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """)
    assert (seen.of("a"), seen.of("b")) == (["a"], ["b"])
    assert sorted(seen.of(None)) == ["a raw", "b raw"]


def test_threads_that_nobody_started_and_forked_children(captured: Captured) -> None:
    seen = captured("""
        import _thread, multiprocessing
        done = threading.Event()
        with capture.step("a"):
            _thread.start_new_thread(lambda: (print("low level"), done.set()), ())
            done.wait()
            child = multiprocessing.get_context("fork").Process(target=print, args=("forked",))
            child.start()
            child.join()
            if os.fork() == 0:
                os.execvp("echo", ["echo", "replaced"])
            os.wait()
    """)
    assert seen.of("a") == ["low level", "forked", "replaced"]


def test_with_tee_it_is_also_seen(captured: Captured) -> None:
    seen = captured(
        """
        with capture.step("a"):
            print("python")
            os.system("echo shell")
            print("é wrong", file=sys.stderr)
    """,
        tee=True,
    )
    assert seen.of("a") == ["python", "shell", "é wrong"]
    assert set(seen.out.splitlines()) == {"before the capture", "python", "shell", "after the capture", "raw after"}
    assert seen.err == "é wrong\nafter, wrong\n"


def test_log_records_are_printed_from_info_on(captured: Captured) -> None:
    seen = captured("""
        logging.getLogger("lib").debug("no")
        with capture.step("a"):
            logging.getLogger("lib").info("yes")
            logging.getLogger("lib").warning("careful")
    """)
    assert seen.lines == [("a", "stderr", "INFO lib: yes"), ("a", "stderr", "WARNING lib: careful")]


def test_user_code_may_still_arrange_its_logging(captured: Captured) -> None:
    seen = captured("""
        with capture.step("a"):
            logging.basicConfig(level=logging.DEBUG, format="%(message)s!", stream=sys.stdout)
            logging.debug("mine")
    """)
    assert seen.lines == [("a", "stdout", "mine!")]


def test_what_user_code_arranged_before_stays(captured: Captured) -> None:
    seen = captured(
        """
        with capture.step("a"):
            logging.info("quiet")
            logging.warning("loud")
        """,
        before="logging.basicConfig(level=logging.WARNING, format='%(message)s')",
    )
    assert seen.lines == [("a", "stderr", "loud")]


def test_closed_descriptors_do_not_matter(captured: Captured) -> None:
    seen = captured("""
        with capture.step("a"):
            print("before")
            os.close(1)
            print("after")
            os.system("echo nowhere 2>/dev/null")
        with capture.step("b"):
            os.closerange(3, 200)
            print("all closed")
    """)
    assert "before" in seen.of("a")
    assert "after" in seen.of("a")
    assert seen.of("b") == ["all closed"]


def test_a_process_without_descriptors(captured: Captured) -> None:
    seen = captured(
        """
        with capture.step("a"):
            print("python")
            os.write(1, b"raw\\n")
        """,
        before="os.close(1); os.close(2)",
    )
    assert seen.of("a") == ["python", "raw"]


def test_a_process_that_is_left_behind_does_not_hold_it_up(captured: Captured) -> None:
    begun = time.monotonic()
    seen = captured("""
        with capture.step("a"):
            os.system("sleep 600 & echo $!")
    """)
    os.kill(int(seen.of("a")[0]), signal.SIGKILL)
    assert time.monotonic() - begun < 60


def test_warnings_and_uncaught_errors_of_threads(captured: Captured) -> None:
    seen = captured("""
        with capture.step("a"):
            warnings.simplefilter("always")
            warnings.warn("take care")
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()
    """)
    assert any("UserWarning: take care" in text for text in seen.of("a"))
    assert "ZeroDivisionError: division by zero" in seen.of("a")


def test_words_that_are_no_output_of_the_run(captured: Captured) -> None:
    seen = captured("""
        print("for the supervisor", file=capture.terminal("stderr"))
    """)
    assert seen.lines == []
    assert seen.err == "for the supervisor\nafter, wrong\n"


def test_a_second_one_is_refused_and_changes_nothing(captured: Captured) -> None:
    seen = captured("""
        try:
            with Capture(lambda lines: None, own_process=True, tee=False):
                pass
        except RuntimeError as error:
            print(error)
        with Capture(lambda lines: None, own_process=False, tee=False):
            print("to the other")
        os.write(1, b"raw\\n")
        print("still here")
    """)
    assert sorted(seen.of(None)) == ["Another capture has this process for itself.", "raw", "still here"]


def test_everything_is_restored(captured: Captured) -> None:
    seen = captured(
        """
        print("inside")
        """,
        before="""
            import atexit
            from concurrent.futures import ThreadPoolExecutor
            def state():
                return [sys.stdout, sys.stderr, subprocess.Popen.__init__, subprocess.Popen.wait, threading.Thread.start,
                        ThreadPoolExecutor.submit, os.system, logging.lastResort, logging.root.level,
                        sorted(os.listdir("/proc/self/fd")), os.readlink("/proc/self/fd/1"), threading.active_count()]
            former = state()
            def check():
                if state() != former:
                    os._exit(9)
            atexit.register(check)
        """,
    )
    assert seen.of(None) == ["inside"]


def test_an_interrupted_run_keeps_its_lines(captured: Captured) -> None:
    seen = captured("""
        import signal
        class Stop(Exception): pass
        def handler(number, frame):
            print("from the handler")
            raise Stop
        signal.signal(signal.SIGTERM, handler)
        try:
            with capture.step("a"):
                print("begun")
                os.kill(os.getpid(), signal.SIGTERM)
                while True:
                    print("waiting")
        except Stop:
            print("stopped")
    """)
    assert seen.of("a")[0] == "begun"
    assert "from the handler" in seen.of("a")
    assert seen.of(None) == ["stopped"]
