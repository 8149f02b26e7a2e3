"""A pipeline that is served: it branches on its input, sleeps, fails, streams and shares a state, as it is told."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from penstock import get_step_context, pipeline, step

Deed = Literal["square", "fail", "nap", "count", "tell", "mutate", "exit"]


@dataclass
class Point:
    x: int
    y: int = 0


@step
def square(number: int) -> int:
    print(f"squaring {number}")
    return number * number


@step
async def plus(value: int, more: int) -> int:
    await asyncio.sleep(0)
    return value + more


@step
def fail(number: int) -> int:
    raise ValueError(f"{number} is a bad number")


@step
def nap(number: int, seconds: float, path: str) -> int:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)  # poll: it is to be interrupted
    if path:
        Path(path).write_text("done")
    return number


@step
def count(number: int) -> Iterator[int]:
    yield from range(number)


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def tell(number: int) -> dict[str, Any]:
    context = get_step_context()
    return {"state": context.pipeline_state, "number": number, "run": context.run_id, "pid": os.getpid()}


@step
def make() -> list[int]:
    return [1]


@step
def spoil(values: list[int]) -> int:
    values.append(100)
    return len(values)


@step
def leave() -> None:
    os._exit(3)


def load(path: str = "") -> dict[str, int]:
    return {"pid": os.getpid(), "loads": 1}


SETTINGS = {"deployment": {"uvicorn_port": int(os.environ.get("FIRST_PORT", "8000"))}}


@pipeline(on_init=load, settings=SETTINGS)
def served(
    number: int, deed: Deed = "square", more: int = 1, seconds: float = 0.0, path: str = "", point: Point | None = None
) -> Any:
    """Do one deed."""
    if deed == "fail":
        return fail(number)
    if deed == "nap":
        return nap(number, seconds, path)
    if deed == "count":
        return total(count(number))
    if deed == "tell":
        return tell(number)
    if deed == "mutate":
        values = make()
        return total(values, after=spoil(values))
    if deed == "exit":
        return leave()
    if point is not None:
        return {"x": point.x, "square": square(number)}
    return plus(square(number), more)
