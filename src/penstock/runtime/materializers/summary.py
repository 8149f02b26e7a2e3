"""Tables to look at: their columns with statistics, and the first rows, small enough for a record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from penstock.runtime.materializers.preview import plain, shortened

BINS = 10
ROWS = 5
"""Rows that are shown at most."""

_SAMPLE = 100_000
_COLUMNS = 40
_NAME = 100
_CELL = 60
_ROOM_FOR_COLUMNS = 4500
_ROOM_FOR_ROWS = 3000  # with the above less than `preview.LIMIT`, which would drop the whole of the larger


@dataclass(frozen=True)
class Column:
    """A column of a table. `statistics` works them out, and may fail: they are decoration."""

    name: str
    dtype: str
    statistics: Callable[[], Mapping[str, Any]]


def table(rows: int, columns: Sequence[Column], head: Callable[[], Iterable[Iterable[Any]]]) -> dict[str, Any]:
    """The facts about a table; `head` gives its first rows. Never raises; what does not fit is left out from the end."""
    facts: dict[str, Any] = {"rows": rows, "column_count": len(columns), "columns": _columns(columns[:_COLUMNS])}
    shown: list[Any] = [[cell(item) for item in islice(row, _COLUMNS)] for row in attempt(lambda: list(head()), [])]
    while len(msgspec.json.encode(shown)) > _ROOM_FOR_ROWS:
        del shown[-1]
    return facts | {"head": shown}


def cell(value: Any) -> Any:
    """One value as JSON: numbers, truth and nothing as they are, all else as the beginning of its text."""
    if value is None or isinstance(value, bool | int | float):
        return plain(value)
    return attempt(lambda: shortened(str(value), _CELL), f"<{type(value).__qualname__}>")


def attempt(work: Callable[[], Any], otherwise: Any) -> Any:
    """What `work` returns, or `otherwise`: a value that cannot be described is still a value worth keeping."""
    try:
        return work()
    except Exception:  # noqa: BLE001  # values of any class may do anything when they are looked at
        return otherwise


def stride(count: int) -> int:
    """Take every so manieth of `count` values for a histogram: a hundred thousand show its shape as well as a billion."""
    return max(1, math.ceil(count / _SAMPLE))


def scale(low: float, high: float) -> float | None:
    """Bins per unit between the smallest and the largest value; None where there is no width to divide."""
    width = high - low
    return BINS / width if math.isfinite(width) and width > 0 and math.isfinite(BINS / width) else None


def histogram(counts: Mapping[Any, int], sampled_by: int) -> dict[str, Any]:
    """Numbers of values in `BINS` bins of equal width between `min` and `max`, by number of the bin."""
    facts: dict[str, Any] = {"histogram": [int(counts.get(number, 0)) for number in range(BINS)]}
    return facts | {"histogram_of_every": sampled_by} if sampled_by > 1 else facts


def _columns(columns: Sequence[Column]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    room = _ROOM_FOR_COLUMNS
    for column in columns:
        one = {"name": shortened(column.name, _NAME), "dtype": shortened(column.dtype, _NAME)}
        room -= len(msgspec.json.encode(one))
        if room < 0:
            break
        shown.append(one)
    for column, one in zip(columns, shown, strict=False):
        statistics = {key: _fact(fact) for key, fact in attempt(column.statistics, {}).items()}
        room -= len(msgspec.json.encode(statistics))
        if room < 0:
            break
        one.update(statistics)
    return shown


def _fact(value: Any) -> Any:
    return value if isinstance(value, list) else cell(value)
