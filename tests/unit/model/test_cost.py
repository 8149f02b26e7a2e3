from __future__ import annotations

import pytest

from penstock.model.cost import Cost, Price


@pytest.mark.parametrize(
    ("per_hour", "seconds", "amount"),
    [(3.6, 10.0, 0.01), (3.6, 0.0, 0.0), (1.0, 0.0036, 0.000001), (0.0, 10.0, None), (3.6, None, None)],
)
def test_what_seconds_cost(per_hour: float, seconds: float | None, amount: float | None) -> None:
    found = Price(per_hour=per_hour, currency="EUR").of(seconds)
    assert found == (None if amount is None else Cost(amount=amount, currency="EUR", per_hour=per_hour))
