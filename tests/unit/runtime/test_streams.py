from __future__ import annotations

import copy
import io
import pickle
import sys
import threading
from contextlib import redirect_stdout

import pytest

from penstock.runtime.logs import Capture
from tests.unit.runtime.capturing import Log, quiet

pytestmark = pytest.mark.usefixtures("restored")


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
