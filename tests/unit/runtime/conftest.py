"""What tests of captured output start from."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.runtime import patches
from tests.unit.runtime.benching import Bench
from tests.unit.runtime.capturing import Log


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "artifacts")


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def restored() -> Iterator[None]:
    """After the test the process is as it was before."""

    def state() -> list[object]:
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
