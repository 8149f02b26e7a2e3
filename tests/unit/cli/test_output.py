from __future__ import annotations

import datetime as dt
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import output
from penstock.model.run import RunState

START = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7325, "2 h 2 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_took_nothing_while_it_goes_on() -> None:
    assert output.took(START, None) == ""
    assert output.took(START, START + dt.timedelta(seconds=2)) == "2.0 s"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        (True, "true"),
        (1.5, "1.5"),
        (("a", "b"), "a, b"),
        ([1, None], "[1, null]"),
        ({"a": "é"}, '{"a": "é"}'),
        (RunState.FAILED, "failed"),
    ],
)
def test_text(value: Any, text: str) -> None:
    assert output.text(value) == text


def test_a_command_can_be_typed_as_it_is_printed() -> None:
    assert output.command("run", "wait", "my run") == "penstock run wait 'my run'"


def test_times_are_those_of_the_place() -> None:
    assert output.text(START) == f"{START.astimezone():%Y-%m-%d %H:%M:%S}"


class TestRecord:
    def test_empty_fields_are_left_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        fields = {"A": 0, "B": None, "C": "", "D": (), "Long name": False}
        output.show_record({}, fields, output.Output.TABLE)
        assert capsys.readouterr().out == "A          0\nLong name  false\n"

    def test_json_is_the_record_with_every_letter_as_it_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.show_record({"a": "é✓", "t": START}, {}, output.Output.JSON)
        assert capsys.readouterr().out == '{\n  "a": "é✓",\n  "t": "2025-01-01T00:00:00Z"\n}\n'


def on_a_terminal(arguments: list[str], home: Path, columns: int, **environment: str) -> str:
    """What a command shows on a terminal of this width."""
    ours, its = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", *arguments],
            stdout=its,
            stderr=its,
            stdin=its,
            env={"PATH": os.environ["PATH"], "PENSTOCK_HOME": str(home), "TERM": "xterm", "COLUMNS": str(columns)}
            | {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
            | environment,
        )
        os.close(its)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0
    finally:
        os.close(ours)
    return shown.decode().replace("\r\n", "\n")


class TestTerminal:
    @pytest.fixture
    def listed(self, server: Any, run_json: Any) -> None:
        server.on("GET", "/runs", {"items": [run_json()], "total": 1})

    def test_what_does_not_fit_is_left_out(self, listed: None, home: Path) -> None:
        for columns, spare in ((80, ["TEMPLATE"]), (60, [])):
            head, row = on_a_terminal(["run", "list"], home, columns, NO_COLOR="1").splitlines()
            assert head.split() == ["NAME", "STATE", "PIPELINE", *spare, "CREATED", "TOOK"]
            assert "train-1" in row
            assert len(row) <= columns

    def test_with_room_everything_is_shown(self, listed: None, home: Path) -> None:
        assert "TEMPLATE" in on_a_terminal(["run", "list"], home, 160)

    def test_colours(self, listed: None, home: Path) -> None:
        assert "\x1b[32mcompleted" in on_a_terminal(["run", "list"], home, 80)
        assert "\x1b[3" not in on_a_terminal(["run", "list"], home, 80, NO_COLOR="1")
