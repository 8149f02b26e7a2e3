"""A pipeline with arguments of many kinds, all steps of which are taken from the cache where nothing has changed."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from penstock import CachePolicy, pipeline, step


@step
def load(n: int, kind: Literal["a", "b"], names: list[str]) -> list[int]:
    return [len(name) for name in names] + list(range(n))


@step
def fit(values: list[int], rate: float, weights: dict[str, float] | None = None) -> tuple[float, int]:
    return rate * sum(values), len(values)


@step(cache_policy=CachePolicy(ignored_inputs=["note"]))
def note(score: float, pair: list[Any], note: str = "") -> str:
    return f"{score} {pair}"


@step
def dated(day: date) -> str:
    return str(day)


@pipeline(enable_cache=True)
def planned(
    n: int = 2,
    rate: float = 1,
    kind: Literal["a", "b"] = "a",
    names: list[str] = ["x"],  # noqa: B006
    weights: dict[str, float] | None = None,
    text: str = "",
    day: date = date(2026, 1, 1),
) -> str:
    score, size = fit(load(n, kind, names), rate, weights)
    dated(day)
    return note(score, [size, {"fixed": 1.0, "n": n}], text)
