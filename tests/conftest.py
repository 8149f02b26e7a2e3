"""What every test starts from: an environment without settings of the person who runs it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The time that an example takes says nothing on a busy machine; the test's own timeout still holds.
hypothesis.settings.register_profile("penstock", deadline=None)
hypothesis.settings.load_profile("penstock")


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
