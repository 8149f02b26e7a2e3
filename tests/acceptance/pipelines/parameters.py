"""Pipelines that tell what their steps were given: for tests of parameters of every type."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from penstock import pipeline, step


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5


class Model(BaseModel):
    name: str
    at: Point
    since: datetime.date | None = None


class Size(TypedDict):
    width: int
    unit: str


@step
def tell(
    whole: int,
    real: float,
    flag: bool,
    text: str,
    maybe: int | None,
    old: Optional[str],  # noqa: UP045 - people write it
    items: list[int],
    table: dict[str, float],
    nested: dict[str, list[Point]],
    pair: tuple[int, str],
    many: tuple[int, ...],
    unique: set[int],
    moment: datetime.datetime,
    day: datetime.date,
    span: datetime.timedelta,
    key: UUID,
    path: Path,
    price: Decimal,
    color: Color,
    level: Literal["low", "high", 3],
    point: Point,
    model: Model,
    size: Size,
    bounded: Annotated[int, Field(ge=1, le=9)],
) -> dict[str, str]:
    return {
        # A moment as text: its zone may be an object of another class.
        name: f"{type(value).__name__} {value if isinstance(value, datetime.datetime) else repr(value)}"
        for name, value in list(locals().items())
    }


@pipeline
def typed(
    whole: int,
    real: float,
    flag: bool,
    text: str,
    maybe: int | None,
    old: Optional[str],  # noqa: UP045 - people write it
    items: list[int],
    table: dict[str, float],
    nested: dict[str, list[Point]],
    pair: tuple[int, str],
    many: tuple[int, ...],
    unique: set[int],
    moment: datetime.datetime,
    day: datetime.date,
    span: datetime.timedelta,
    key: UUID,
    path: Path,
    price: Decimal,
    color: Color,
    level: Literal["low", "high", 3],
    point: Point,
    model: Model,
    size: Size,
    bounded: Annotated[int, Field(ge=1, le=9)],
) -> Any:
    """Tell what a step was given for a parameter of every type."""
    return tell(**locals())


@step
def same(tree: Any) -> Any:
    return tree


@step
def count(tree: Any) -> int:
    return len(tree)


@pipeline
def echo(tree: Any) -> Any:
    """Give back what came, through two steps."""
    return {"tree": same(same(tree)), "count": count(tree)}


AWKWARD: dict[str, Any] = {
    "": [None, True, 1, 1.0, -0.0, 5e-324, 2**64, -(10**40), {}, []],
    "\u2028 \U0001f600 \x00": "e\u0301 \x7f \ufeff",
    "$type": {"$type": "tuple", "items": [1]},
}


@pipeline
def kept(tree: Any = AWKWARD) -> Any:
    """Give back what the template itself says."""
    return same(tree)


@step
def hold(whole: int) -> str:
    return str(whole)


@pipeline
def large(whole: int) -> Any:
    """Tell an integer as text."""
    return hold(whole)


@pipeline
def door(whole: int, real: float = 1.0, items: Any = None, bounded: Annotated[int, Field(ge=1)] = 1) -> Any:
    """Never started by the tests: it stands for what is refused."""
    return same([whole, real, items, bounded])
