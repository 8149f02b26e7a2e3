"""Bars of tqdm and Rich, in a terminal and in logs: what is kept is what was on the screen last, in plain lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.site_under_test import PATIENCE, Site, eventually

BARS = Path(__file__).parent / "pipelines" / "bars.py"

NESTED = ["round 0", "round 1", "round 2", "outer: 100%", "nested is over"]
SIDE_BY_SIDE = ["bar 0: 100%", "bar 1: 100%", "bar 2: 100%"]
RICHLY = ["halfway", "load", "fit", "green"]


def on_a_terminal(site: Site, pipeline: str, **settings: str) -> str:
    """What a person sees of a run in a script, with all that it does to the cursor."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 80))
    command = [sys.executable, str(BARS), pipeline]
    environment = {**site.environment, "TERM": "xterm-256color", **settings}
    said = b""
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            while part := os.read(ours, 1 << 16):
                said += part
        except OSError:
            pass  # how Linux says that nobody holds the other side any more
        assert process.wait(PATIENCE) == 0, said.decode()
    os.close(ours)
    return said.decode()


def kept(site: Site, run: str) -> dict[str, list[str]]:
    """The lines of each step, which are text and nothing else; of bars only what does not depend on the time."""
    by_step: dict[str, list[str]] = {}
    for line in site.get(f"/runs/{run}/logs")["lines"]:
        assert line["text"].isprintable(), line
        bar = re.match(r"(.*?\d+%)\|", line["text"]) or re.match(r"(load|fit) ", line["text"])
        by_step.setdefault(line["step"], []).append(bar[1] if bar else line["text"])
    return by_step


def last_run(site: Site) -> str:
    return str(site.get("/runs", size=1)["items"][0]["id"])


def test_bars_one_after_the_other_in_a_terminal(site: Site) -> None:
    shown = on_a_terminal(site, "in_turn")
    assert "\x1b[A" in shown  # the libraries saw a terminal, and drew
    assert shown.count("inner:") > 10
    assert "100%" in shown
    found = kept(site, last_run(site))
    assert found == {
        "nested": NESTED,
        "side_by_side": SIDE_BY_SIDE,
        "of_threads": ["shared: 100%"],
        "richly": RICHLY,
    }


def test_bars_of_several_steps_at_once_are_lines_in_a_terminal(site: Site) -> None:
    shown = on_a_terminal(site, "at_once")
    found = kept(site, last_run(site))
    assert found["side_by_side"] == SIDE_BY_SIDE
    assert found["richly"] == RICHLY
    assert {"outer: 100%", "nested is over"} <= set(found["nested"])
    lines = shown.replace("\r\n", "\n").replace("\x1b[J", "").split("\n")
    for text in [*NESTED, *SIDE_BY_SIDE, "shared: 100%", *RICHLY]:
        assert any(line.startswith(text) for line in lines), f"{text} in {shown!r}"


def test_bars_of_a_launched_run(site: Site) -> None:
    site.template(f"{BARS}:in_turn", "bars")
    run = site.ended(site.trigger("bars")["id"])
    assert run["state"] == "completed"
    found = kept(site, run["id"])
    assert found["nested"] == NESTED
    assert found["side_by_side"] == SIDE_BY_SIDE
    assert found["of_threads"] == ["shared: 100%"]
    assert found["richly"][-3:] == RICHLY[-3:]
    printed = site.penstock("run", "logs", run["id"]).stdout
    assert [line.partition(" | ")[0] for line in printed.splitlines()].count("nested") == len(NESTED)


def test_who_follows_sees_a_long_bar_move(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site, go = new_site(), tmp_path / "go"
    site.template(f"{BARS}:endless", "endless")
    run = site.trigger("endless", {"path": str(go)})
    with subprocess.Popen(
        [sys.executable, "-m", "penstock", "run", "logs", "-f", "--output", "json", run["id"]],
        env=site.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        first, second = (json.loads(follower.stdout.readline())["text"] for _ in range(2))
        go.touch()
        left = follower.stdout.read().splitlines()
    assert first.startswith("long: ")
    assert second.startswith("long: ")
    assert first != second
    assert len(left) <= 2
    eventually(lambda: site.get(f"/runs/{run['id']}")["state"] == "completed", what="the run has completed")


def test_a_person_is_told_of_steps_that_take_their_time(site: Site) -> None:
    told = on_a_terminal(site, "slowly", TERM="dumb").replace("\r\n", "\n").splitlines()
    assert [re.sub(r"[\d.]+ s$", "N s", line) for line in told if "penstock: step" in line] == [
        "penstock: step slow completed in N s"
    ]
    assert re.fullmatch(r"penstock: run slowly-\S+ completed in [\d.]+ s", told[-1])
    assert on_a_terminal(site, "slowly", PENSTOCK_QUIET="1") == ""
    command = [sys.executable, str(BARS), "slowly"]
    piped = subprocess.run(command, env=site.environment, check=True, capture_output=True, text=True)
    assert "penstock: step" not in piped.stderr


def test_what_a_step_prints_does_nothing_to_the_terminal_of_its_reader(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "rude.py"
    script.write_text(
        "from penstock import pipeline, step\n@step\ndef s() -> int:\n"
        "    print('\\x1b]0;title\\x07\\x1b[2J\\x1b[31mred\\x07bell')\n    return 1\n"
        "@pipeline\ndef rude():\n    return s()\nif __name__ == '__main__':\n    rude()\n"
    )
    subprocess.run([sys.executable, str(script)], env=site.environment, check=True, capture_output=True)
    assert site.penstock("run", "logs", last_run(site)).stdout == "s | red\\x07bell\n"


@pytest.fixture(autouse=True)
def no_settings_of_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TQDM_")]:
        monkeypatch.delenv(name)
