from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.runtime.materializers import summary
from penstock.runtime.materializers.preview import LIMIT, facts


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("not for your eyes")


def fails() -> Any:
    raise ValueError("no statistics")


def test_what_fails_is_left_out() -> None:
    columns = [summary.Column("a", "int", fails), summary.Column("b", "int", lambda: {"min": Hostile()})]
    assert summary.table(3, columns, fails) == {
        "rows": 3,
        "column_count": 2,
        "columns": [{"name": "a", "dtype": "int"}, {"name": "b", "dtype": "int", "min": "<Hostile>"}],
        "head": [],
    }


def test_cells_are_short() -> None:
    shown = [summary.cell(one) for one in (None, True, 1.5, float("nan"), 2**70, Decimal("1.20"), "x" * 100, Hostile())]
    assert shown == [None, True, 1.5, "nan", str(2**70), "1.20", "x" * 60 + "…", "<Hostile>"]


@given(
    st.lists(
        st.tuples(st.text(max_size=200), st.dictionaries(st.text(max_size=9), st.text() | st.floats())), max_size=60
    ),
    st.lists(st.lists(st.text(), max_size=60), max_size=6),
)
def test_the_facts_of_any_table_fit(columns: list[tuple[str, Mapping[str, Any]]], rows: list[list[str]]) -> None:
    made = [summary.Column(name, name, lambda of=of: of) for name, of in columns]  # type: ignore[misc]
    found = summary.table(len(rows), made, lambda: rows)
    json.dumps(found, allow_nan=False)
    kept = facts(found)
    assert "omitted" not in kept
    assert len(json.dumps(kept, ensure_ascii=False).encode("utf-8", "surrogatepass")) <= LIMIT * 2
    assert kept["column_count"] == len(columns)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_scale_is_a_number_or_none(low: float, high: float) -> None:
    per_unit = summary.scale(low, high)
    assert per_unit is None or (low < high and 0 < per_unit < float("inf"))


def test_a_histogram_takes_a_hundred_thousand_at_most() -> None:
    assert [summary.stride(count) for count in (0, 1, 100_000, 100_001, 10**9)] == [1, 1, 1, 2, 10_000]
    assert summary.histogram({0: 3, 9: 1}, 2) == {"histogram": [3, *[0] * 8, 1], "histogram_of_every": 2}
