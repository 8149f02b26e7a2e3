"""What failed beside others is run again alone, once, and told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.second_look import FEW, second_look

Look = Callable[..., tuple[int, int, str]]

STEADY = "def test_fine(): pass\n"
ONCE = """
from pathlib import Path
def test_unsteady():
    ran = Path("ran")
    if not ran.exists():
        ran.touch()
        raise AssertionError("beside others")
"""
ALWAYS = "def test_broken{}(): raise AssertionError\n"


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Look:
    monkeypatch.chdir(tmp_path)

    def look(*code: str) -> tuple[int, int, str]:
        """How pytest exited on this code, what the second look made of it, and what that printed."""
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        (tmp_path / "test_it.py").write_text("".join(code))
        first = subprocess.run([sys.executable, "-m", "pytest", "-q"], check=False).returncode
        capfd.readouterr()
        return first, second_look(first), capfd.readouterr().out

    return look


def test_nothing_failed(look: Look) -> None:
    assert look(STEADY) == (0, 0, "")


def test_what_passes_alone_is_told_as_unsteady(look: Look) -> None:
    first, verdict, said = look(STEADY, ONCE)
    assert (first, verdict) == (1, 0)
    assert "1 passed" in said
    assert "UNSTEADY" in said
    assert "test_it.py::test_unsteady" in said


def test_what_fails_again_has_failed(look: Look) -> None:
    first, verdict, said = look(STEADY, ONCE, ALWAYS.format(0))
    assert (first, verdict) == (1, 1)
    assert "1 failed, 1 passed" in said
    assert "UNSTEADY" not in said


def test_many_get_no_second_look(look: Look) -> None:
    assert look(*(ALWAYS.format(number) for number in range(FEW + 1))) == (1, 1, "")


def test_code_that_cannot_be_read_gets_none(look: Look) -> None:
    first, verdict, said = look("def")
    assert first == verdict != 0
    assert said == ""
