"""Whatever user code does to its own process, its run ends in one state with the reason, and the next one is fine."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually

# What the code does -> how its run ends, and what is said of it.
DEEDS = {
    "exit_zero": ("failed", "exited with status 0 before it reported its end"),
    "sys_exit": ("failed", "SystemExit"),
    "recursion": ("failed", "RecursionError"),
    "close_everything": (None, ""),  # its own pipes are among them: it may end either way, but it ends
    "lose_the_directory": ("completed", ""),
    "memory": ("failed", "MemoryError"),
    "full_files": (None, ""),
    "leave_a_thread": ("completed", ""),
    "leave_a_daemon": ("completed", ""),
    "take_all_signals": ("completed", ""),
    "hold_the_interpreter": ("completed", ""),  # for longer than a lease: others send the heartbeats
    "interrupt": ("failed", "KeyboardInterrupt"),
    "strange_error": ("failed", "Mute"),
    "many_descriptors": ("completed", ""),
    "bytes_on_the_streams": ("completed", ""),
}


@pytest.fixture(scope="module")
def house(site: Site) -> Iterator[Site]:
    for name in ("mischief", "oddity"):
        site.template(f"{PIPELINES / 'mischief.py'}:{name}", name)
    return site


@pytest.mark.parametrize("deed", list(DEEDS))
def test_it_ends_in_one_state_with_the_reason_and_leaves_nothing(house: Site, deed: str) -> None:
    state, words = DEEDS[deed]
    run = house.trigger("mischief", {"deed": deed})
    ended = house.ended(run["id"])
    assert ended["state"] in ((state,) if state else ("completed", "failed"))
    error = ended["error"] or {}
    assert words in f"{error.get('type')} {error.get('message')}"
    assert house.ended(house.trigger("lab", {"number": 3})["id"])["outputs"] == {"output": {"value": 9}}
    assert house.get(f"/runs/{run['id']}") == ended  # and stays as it ended

    eventually(lambda: not _sleepers(run["id"]), what="no process of the run is left")


def _sleepers(run_id: str) -> list[psutil.Process]:
    found = [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "600"]]
    return [one for one in found if run_id in _surroundings(one)]


def _surroundings(process: psutil.Process) -> str:
    try:
        return str(process.environ())
    except psutil.Error:  # gone meanwhile
        return ""


def test_a_result_that_cannot_be_kept_fails_with_its_kind(house: Site) -> None:
    ended = house.ended(house.trigger("oddity")["id"])
    assert ended["state"] == "failed"
    assert "lock" in ended["error"]["message"]
