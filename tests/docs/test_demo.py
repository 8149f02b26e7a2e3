from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="the demo runs what `make setup` has installed")
def test_the_demo_does_the_main_job_and_leaves_nothing_behind(home: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(home)}
    del environment["PENSTOCK_HOME"]
    done = subprocess.run([ROOT / "tools" / "demo.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^[0-9a-f-]{36}  (\w+) +(\d+) +(\d+) ", done.stdout, re.MULTILINE)
    assert rows == [("random_forest", "569", "2"), ("gradient_boosting", "178", "3")]
    assert list(home.iterdir()) == []
    assert [process for process in psutil.process_iter(["environ"]) if str(home) in str(process.info["environ"])] == []
