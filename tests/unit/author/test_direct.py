from __future__ import annotations

import sys
from pathlib import Path

import pytest

from penstock.author.source import load_source
from penstock.errors import AuthoringError


def test_a_module_that_runs_its_pipeline_when_imported_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs_on_import.py").write_text("from penstock import pipeline\n@pipeline\ndef flow(): ...\nflow()\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(AuthoringError, match=r"Importing 'runs_on_import:flow' called pipeline flow.*__main__"):
        load_source("runs_on_import:flow", tmp_path)
