"""A pipeline that is served, and changed by tests: what is tried beside it differs in one place, or fails for some inputs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from penstock import pipeline, step


@step
def score(number: int) -> dict[str, Any]:
    return {"score": number / 3, "items": [{"id": number, "at": time.time()}]}


@step
def pause(seconds: float, path: str) -> float:
    Path(path).touch()
    time.sleep(seconds)  # slow: it is to be killed meanwhile
    return seconds


@pipeline(settings={"deployment": {"uvicorn_port": int(os.environ.get("FIRST_PORT", "8000"))}})
def scored(number: int, seconds: float = 0.0, path: str = "") -> Any:
    """Score a number, after a pause."""
    if seconds:
        return score(number, after=pause(seconds, path))
    return score(number)
