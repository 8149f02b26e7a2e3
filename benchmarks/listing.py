"""`penstock run list` in a terminal, with a page of twenty runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.figures import Aim, Figure
from benchmarks.harness import PATIENCE, Lab, check, in_turns, took

RUNS = 20


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Seconds of whole processes on a pseudo-terminal; three for each repetition."""
    project, home = lab.project("three_steps.py", "list_plain.py"), lab.new("home")
    for _ in range(RUNS):
        lab.python("three_steps.py", home=home, cwd=project)
    environment = {**lab.environment(home), "COLUMNS": "160", "LINES": "50", "TERM": "xterm-256color"}

    def in_terminal(*arguments: str) -> tuple[float]:
        shown = b""

        def run() -> None:
            nonlocal shown
            shown = _shown([sys.executable, *arguments], environment, project)

        seconds = took(run)
        check(shown.count(b"completed") == RUNS, f"not {RUNS} runs were listed, but: {shown.decode()}")
        return (seconds,)

    [ours], [plain] = in_turns(
        3 * repeat,
        lambda: in_terminal("-m", "penstock", "run", "list"),
        lambda: in_terminal("list_plain.py", str(home / "server.sock")),
    )
    against = "http.client, json and print"
    return [Figure(what="`penstock run list`", ours=ours, against=against, yardstick=plain, aim=Aim(0.4))]


def _shown(command: list[str], environment: dict[str, str], cwd: Path) -> bytes:
    """What the command shows on a terminal of its own."""
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(command, env=environment, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            said = b""
            try:
                while part := os.read(ours, 1 << 16):
                    said += part
            except OSError:
                pass  # how Linux says that nobody holds the other side any more
            check(process.wait(PATIENCE) == 0, f"{' '.join(command)} failed: {said.decode()}")
            return said
    finally:
        os.close(ours)
