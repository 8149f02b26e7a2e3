"""The server held against its own description, by a tool that knows nothing of it.

Its phase `coverage` takes ten thousand requests: `PENSTOCK_FUZZ` names the phases if not these.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.site_under_test import Site

# A schema cannot say everything: that two fields exclude each other, that a name is one of those that there are. So 422 is
# an answer to what fits the schema, too; that it is nothing else (400, 415) is checked.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "422", "429"]
"""


FUZZ = os.environ.get("PENSTOCK_FUZZ")  # read now: tests have no settings of the person who runs them


@pytest.mark.parametrize(("role", "phases"), [("admin", "fuzzing,stateful"), ("viewer", "fuzzing")])
def test_all_checks_pass(fresh: Site, tmp_path: Path, role: str, phases: str) -> None:
    """A failing run prints how to repeat it."""
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    phases = FUZZ or phases
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)]
    command += ["run", f"{fresh.url}/api/v1/openapi.json", "--checks", "all", "--phases", phases, "--max-examples", "3"]
    command += ["--header", f"Authorization: Bearer {fresh.key('tester', role)}", "--request-timeout", "20"]
    command += ["--exclude-path", "/api/v1/server/stop", "--suppress-health-check", "all", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
    assert "Traceback (most" not in (fresh.home / "server.out").read_text()
    assert fresh.ended(fresh.trigger("lab")["id"])["state"] == "completed"
