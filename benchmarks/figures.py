"""What was measured, as records: medians, ratios, and whether the aim was reached."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["s", "MiB"]


@dataclass(frozen=True)
class Aim:
    """The figure to reach: at most `most`, in the unit of the figure or, with `times`, as a multiple of the yardstick."""

    most: float
    times: bool = False


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the table: samples of Penstock and of its yardstick, taken in turns."""

    what: str
    ours: Sequence[float]
    against: str
    """What the yardstick is."""

    yardstick: Sequence[float]
    unit: Unit = "s"
    aim: Aim | None = None

    @property
    def median(self) -> float:
        """The median of Penstock's samples."""
        return statistics.median(self.ours)

    @property
    def ratio(self) -> float:
        """Penstock's median as a multiple of the yardstick's."""
        return self.median / statistics.median(self.yardstick)

    @property
    def reached(self) -> bool | None:
        """Whether the median is within the aim; None without one."""
        if self.aim is None:
            return None
        return (self.ratio if self.aim.times else self.median) <= self.aim.most


def slope(few: float, many: float, further: int) -> float:
    """What each of the `further` ones costs that `many` has over `few`: whatever is paid once falls out."""
    return (many - few) / further
