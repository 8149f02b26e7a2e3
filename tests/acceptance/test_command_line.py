"""The command line against a real server: every command speaks JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site


def test_every_command_that_changes_something_answers_in_json(home: Path) -> None:
    site = Site(home)

    def ask(*words: str) -> Any:
        return json.loads(site.penstock(*words, "--output", "json").stdout)

    source = f"{PIPELINES / 'lab.py'}:lab"
    assert ask("pipeline", "create-run-template", source, "--name", "lab")["name"] == "lab"
    assert ask("run-template", "run", "lab", "--param", "number=3", "--wait")["outputs"] == {"output": {"value": 9}}
    assert ask("service-account", "create", "ci")["name"] == "ci"
    assert ask("service-account", "api-key", "create", "ci", "k")["record"]["name"] == "k"
    assert ask("service-account", "api-key", "revoke", "ci", "k") == {"account": "ci", "revoked": "k"}
    assert ask("service-account", "delete", "ci") == {"deleted": "ci"}
    assert ask("run-template", "delete", "lab") == {"deleted": "lab"}
    assert ask("logout") == {"forgotten": False}
    assert ask("down") == {"home": str(home), "stopped": True}
    assert ask("down") == {"home": str(home), "stopped": False}
