"""What runs cost, where somebody has said what an hour of them does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """An amount of money, rounded to millionths, and the price of an hour of a run that it comes from."""

    amount: float
    currency: str
    per_hour: float


@dataclass(frozen=True, kw_only=True)
class Price:
    """What an hour of a run costs."""

    per_hour: float
    currency: str

    def of(self, seconds: float | None) -> Cost | None:
        """What so many seconds cost; None where the time or the price is not known."""
        if seconds is None or not self.per_hour:
            return None
        return Cost(amount=round(seconds / 3600 * self.per_hour, 6), currency=self.currency, per_hour=self.per_hour)
