from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from penstock.errors import Unauthenticated, Unavailable
from penstock.serve.answers import as_json, problem


@dataclass
class Point:
    x: int


class Model(BaseModel):
    name: str


class Odd:
    pass


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": (1, 2.5, None, True)}, {"a": [1, 2.5, None, True]}),
        (float("nan"), None),
        ({1: "a"}, {"1": "a"}),
        (2**80, 2**80),
        ("\ud800", "?"),
        (Point(3), {"x": 3}),
        (Model(name="m"), {"name": "m"}),
        ([np.float32(0.5), np.int64(3)], [0.5, 3]),
        (np.arange(3), [0, 1, 2]),
        (pd.DataFrame({"a": [1, 2]}), [{"a": 1}, {"a": 2}]),
        (pd.Series([1, 2]), [1, 2]),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Decimal("1.5"), "1.5"),
        (complex(1, 2), [1.0, 2.0]),
        (Odd(), {"type": f"{Odd.__module__}.Odd"}),
        ({"deep": [Odd(), 2**70]}, {"deep": [{"type": f"{Odd.__module__}.Odd"}, 2**70]}),
    ],
)
def test_values_as_json(value: Any, told: Any) -> None:
    assert json.loads(as_json(value)) == told


def test_a_problem_says_how_to_go_on() -> None:
    status, headers, body = problem(Unavailable("later"), "/invoke")
    assert (status, dict(headers)[b"retry-after"], json.loads(body)["instance"]) == (503, b"1", "/invoke")
    assert dict(problem(Unauthenticated("no"), "/")[1])[b"www-authenticate"] == b"Bearer"
