"""Fifty triggers at once, each with a parameter of its own, until all are complete; each must have its own right result."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.figures import Aim, Figure
from benchmarks.harness import PAUSE, Lab, check, in_turns, template, took

AT_ONCE = 50


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Seconds until the last of fifty threads has its result; each sends one request, and waits for the answer."""
    server, plain_server = lab.penstock(lab.new("home")), lab.plain()
    caller, plain_caller = template(lab, server, "clock"), plain_server.caller()
    numbers = itertools.count(1000, 1000)

    def ask(number: int) -> None:
        content = {"parameters": {"number": number}}
        status, run = caller.ask("POST", "/api/v1/run_templates/clock/runs", content, Prefer="wait=60")
        check(status in {200, 202}, f"a trigger was answered with {status}: {run}")
        run = caller.ended(run)
        check(run["parameters"] == {"number": number}, f"a run for {number} ran with {run['parameters']}")
        output = run["outputs"]["output"]
        check(output["square"] == number**2, f"the square of {number} came out as {output['square']}")

    def ask_plain(number: int) -> None:
        _, made = plain_caller.ask("POST", "/runs", {"number": number})
        check(made["square"] == number**2, f"the yardstick squares {number} to {made['square']}")

    def sample(ask: Callable[[int], None]) -> tuple[float]:
        first = next(numbers)
        time.sleep(PAUSE)
        return (_seconds_of_all(ask, range(first, first + AT_ONCE)),)

    [ours], [plain] = in_turns(repeat, lambda: sample(ask), lambda: sample(ask_plain))
    server.stop()
    plain_server.stop()
    what, against = f"{AT_ONCE} triggers at once until all are complete", "FastAPI + SQLite"
    return [Figure(what=what, ours=ours, against=against, yardstick=plain, aim=Aim(1.5))]


def _seconds_of_all(ask: Callable[[int], None], numbers: range) -> float:
    ready = threading.Barrier(len(numbers) + 1)

    def when_ready(number: int) -> None:
        ready.wait()
        ask(number)

    with ThreadPoolExecutor(len(numbers)) as pool:
        asked = [pool.submit(when_ready, number) for number in numbers]

        def release() -> None:
            ready.wait()
            for one in asked:
                one.result()

        return took(release)
