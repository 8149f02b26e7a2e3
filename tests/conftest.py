"""What every test starts from: an environment without settings of the person who runs it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import promises

_not_shown: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much of a corpus is tried, and with which chance."""
    parser.addoption("--full", action="store_true", help="all of what is tried in part otherwise")
    parser.addoption("--seed", type=int, help="the chance that an earlier test has printed")


def pytest_configure(config: pytest.Config) -> None:
    """Have properties tried with as many examples as is wanted."""
    # The time that an example takes says nothing on a busy machine; the test's own timeout still holds.
    many = 200 if config.getoption("--full") else 50
    hypothesis.settings.register_profile("penstock", deadline=None, max_examples=many)
    hypothesis.settings.load_profile("penstock")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what was skipped of that on which a promise rests."""
    if report.skipped and promises.shows(report.nodeid):
        _not_shown.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A promise that nothing showed is a failure."""
    if _not_shown and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which."""
    for one in _not_shown:
        terminalreporter.write_line(f"NOT SHOWN {one}: docs/promises.md rests on it, and it was skipped", red=True)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("PENSTOCK_"):
            monkeypatch.delenv(name)


@pytest.fixture
def home(_no_settings_from_outside: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home of Penstock, set as `PENSTOCK_HOME`. Its path is short: a Unix socket lies in it (108 bytes at most)."""
    path = Path(tempfile.mkdtemp(prefix="pk-"))
    monkeypatch.setenv("PENSTOCK_HOME", str(path))
    yield path
    shutil.rmtree(path)
