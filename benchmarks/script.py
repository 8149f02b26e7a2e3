"""A whole script: define a pipeline of three steps and run it, tracked, artifacts kept."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Aim, Figure
from benchmarks.harness import Lab, check, in_turns, took

RIGHT = str(sum(number * number for number in range(1000)))


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Seconds of whole processes: with the background server up, and on a home where nothing ever was."""
    project = lab.project("three_steps.py", "three_steps_plain.py")
    home = lab.new("home")

    def process(script: str, home: Path) -> tuple[float]:
        said = ""

        def run() -> None:
            nonlocal said
            said = lab.python(script, home=home, cwd=project)

        seconds = took(run)
        check(said.strip() == RIGHT, f"{script} printed {said!r}, not {RIGHT}")
        return (seconds,)

    def plain() -> tuple[float]:
        return process("three_steps_plain.py", home)

    def very_first() -> tuple[float]:
        fresh = lab.new("fresh")
        seconds = process("three_steps.py", fresh)
        lab.end(fresh)
        return seconds

    [warm], [beside_warm] = in_turns(repeat, lambda: process("three_steps.py", home), plain)
    [first], [beside_first] = in_turns(repeat, very_first, plain)
    against = "the same arithmetic, bare Python"
    return [
        Figure(what="script with 3 steps, server up", ours=warm, against=against, yardstick=beside_warm, aim=Aim(0.4)),
        Figure(
            what="script with 3 steps, very first use",
            ours=first,
            against=against,
            yardstick=beside_first,
            aim=Aim(2.5),
        ),
    ]
