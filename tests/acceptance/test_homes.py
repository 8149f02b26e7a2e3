"""Homes in unusual places."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually


def test_a_home_may_lie_deeper_than_a_socket_path_can_say(tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 20) / "home"
    home.mkdir(parents=True)
    site = Site(home)
    source = f"{PIPELINES / 'lab.py'}:lab"
    done = site.penstock("pipeline", "run", source, "--param", "number=5", "--output", "json")
    assert json.loads(done.stdout)["outputs"] == {"output": {"value": 25}}
    site.penstock("down")
    eventually(lambda: not site.processes(), what="every process of this home is gone", patience=10)
