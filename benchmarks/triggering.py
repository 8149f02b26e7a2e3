"""One trigger over HTTP, warm: until the answer, until the first line of user code, until the run has completed."""

from __future__ import annotations

import itertools
import time

from benchmarks.figures import Aim, Figure
from benchmarks.harness import PAUSE, Lab, check, in_turns, template


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Each run is a process of its own; user code tells the time, on the clock that all processes share.

    Five triggers for each repetition, one after the other, each over a new TCP connection with an API key.
    """
    server, plain_server = lab.penstock(lab.new("home")), lab.plain()
    caller, plain_caller = template(lab, server, "clock"), plain_server.caller()
    numbers = itertools.count(2)

    def trigger() -> tuple[float, float, float]:
        number = next(numbers)
        time.sleep(PAUSE)
        begun = time.monotonic()
        status, run = caller.ask("POST", "/api/v1/run_templates/clock/runs", {"parameters": {"number": number}})
        answered = time.monotonic()
        check(status == 202, f"a trigger was answered with {status}: {run}")
        output = caller.ended(run)["outputs"]["output"]
        ended = time.monotonic()
        check(output["square"] == number**2, f"the square of {number} came out as {output['square']}")
        return answered - begun, output["at"] - begun, ended - begun

    def plain() -> tuple[float]:
        number = next(numbers)
        time.sleep(PAUSE)
        begun = time.monotonic()
        _, made = plain_caller.ask("POST", "/runs", {"number": number})
        ended = time.monotonic()
        check(made["square"] == number**2, f"the yardstick squares {number} to {made['square']}")
        return (ended - begun,)

    ours, [beside] = in_turns(5 * repeat, trigger, plain)
    server.stop()
    plain_server.stop()
    parts = (("POST to answer", 0.008), ("POST to first line of user code", 0.03), ("POST to complete", 0.08))
    against = "FastAPI + SQLite, POST to answer"
    return [
        Figure(what=f"{what}, warm", ours=samples, against=against, yardstick=beside, aim=Aim(most))
        for (what, most), samples in zip(parts, ours, strict=True)
    ]
