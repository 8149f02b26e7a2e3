"""A pipeline whose steps are taken from the cache where nothing has changed: for tests over several runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from penstock import CachePolicy, get_step_context, pipeline, step


def table_version() -> str:
    """The version of something outside, which a test moves."""
    return Path(os.environ.get("TEST_TABLE", "/nonexistent")).read_text() if "TEST_TABLE" in os.environ else "none"


@step(cache_policy=CachePolicy(cache_func=table_version))
def load(n: int) -> list[int]:
    return list(range(n))


@step(enable_cache=True)
def fit(values: list[int], rate: float = 0.5) -> float:
    return rate * sum(values)


@step
def report(result: float) -> str:
    return f"{get_step_context().run_id} {result}"


@pipeline
def cached(n: int = 4, rate: float = 0.5) -> Any:
    return report(fit(load(n), rate))
