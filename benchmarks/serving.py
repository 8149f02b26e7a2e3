"""A server from its start until it is healthy, and what it holds of the memory when it has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.figures import Aim, Figure, Unit
from benchmarks.harness import Lab, Sample, Server, check, in_turns, template

SETTLED = 1.0
"""Seconds after which a server that nobody asks has nothing more to do."""


def measure(lab: Lab, repeat: int) -> list[Figure]:
    """Penstock on a fresh home, so with its database to make, against uvicorn with an application of two routes."""

    def sample(server: Server, use: Callable[[Server], None]) -> Sample:
        resting = _resting(server)
        use(server)
        _, used = _resting(server)
        server.stop()
        return (server.came_up, *resting, used)

    def run(server: Server) -> None:
        caller = template(lab, server, "clock")
        status, made = caller.ask("POST", "/api/v1/run_templates/clock/runs", {"parameters": {"number": 2}})
        check(status == 202, f"a trigger was answered with {status}: {made}")
        caller.ended(made)

    def insert(server: Server) -> None:
        status, made = server.caller().ask("POST", "/runs", {"number": 2})
        check(status == 200, f"the yardstick answered with {status}: {made}")

    ours, plain = in_turns(
        repeat, lambda: sample(lab.penstock(lab.new("home")), run), lambda: sample(lab.plain(), insert)
    )
    started, rss, uss, used = zip(ours, plain, strict=True)
    return [
        _figure("server start to healthy", started, "s", Aim(1.5)),
        _figure("server, idle memory (RSS)", rss, "MiB", Aim(90)),
        _figure("server, idle memory (USS)", uss, "MiB", Aim(90)),
        _figure("server, supervisor and warm parent, idle after a run (USS)", used, "MiB", None),
    ]


def _resting(server: Server) -> tuple[float, float]:
    time.sleep(SETTLED)  # idle is what has been left alone: there is no event for that
    return server.memory()


def _figure(what: str, samples: tuple[Sample, Sample], unit: Unit, aim: Aim | None) -> Figure:
    ours, plain = samples
    return Figure(what=what, ours=ours, against="bare FastAPI", yardstick=plain, unit=unit, aim=aim)
