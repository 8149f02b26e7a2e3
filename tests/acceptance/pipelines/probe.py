"""A pipeline whose steps take constants beside results, and values that Python holds to be equal although they are not."""

from __future__ import annotations

from typing import Any

from penstock import pipeline, step


@step
def make() -> float:
    return 1.0


@step
def tell(parts: dict[str, Any]) -> str:
    return str(sorted(parts.items()))


@step
def flag(value: Any) -> str:
    return repr(value)


@pipeline
def probe(factor: float = 2.0, value: Any = 1) -> Any:
    flag(value)
    return tell({"a": make(), "b": factor})
