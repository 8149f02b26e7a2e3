"""The example of a deployment, from `deploy` to `delete`, as it stands in the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.site_under_test import PATIENCE, Site, eventually

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "deployment"


def test_it_goes_all_the_way(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site = new_site()
    shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("penstock", "-m penstock"), ("python3", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "from_deploy_to_delete.sh"],
        cwd=tmp_path / "example",
        env={**site.environment, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    shares = [one["outputs"]["output"] for one in (answers[0], answers[1]["result"], answers[2])]
    likely = [max(one, key=one.get) for one in shares]
    assert likely == ["setosa", "virginica", "versicolor"]
    assert "\n401\n" in done.stdout
    eventually(lambda: site.api.get("/deployments/flowers").status_code == 404, what="its end")
