"""What a script pays for naming Penstock: a process that imports it, against one that does nothing."""

from __future__ import annotations

from benchmarks.figures import Aim, Figure
from benchmarks.harness import Lab, in_turns, took


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Seconds of whole processes; four for each repetition, since they are short."""
    home = lab.new("home")

    def process(code: str) -> tuple[float]:
        return (took(lambda: lab.python("-c", code, home=home)),)

    [ours], [bare] = in_turns(
        4 * repeat, lambda: process("from penstock import pipeline, step"), lambda: process("pass")
    )
    what = "`from penstock import pipeline, step`"
    return [Figure(what=what, ours=ours, against="bare Python", yardstick=bare, aim=Aim(4, times=True))]
