from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from penstock.errors import ArtifactError
from penstock.runtime.materializers.preview import LIMIT

MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 15)
SERIES = [
    pl.Series("i", [1, None], pl.Int8),
    pl.Series("u", [2**64 - 1, None], pl.UInt64),
    pl.Series("huge", [2**100, None], pl.Int128),
    pl.Series("f", [0.1, None, float("inf")], pl.Float32),
    pl.Series("b", [True, None]),
    pl.Series("s", ["ä", None, ""]),
    pl.Series("bytes", [b"\0", None]),
    pl.Series("category", ["x", None, "y"], pl.Categorical),
    pl.Series("enum", ["x", None], pl.Enum(["never", "x"])),
    pl.Series("decimal", [Decimal("1.25"), None], pl.Decimal(10, 2)),
    pl.Series("date", [MOMENT.date(), None]),
    pl.Series("time", [MOMENT.time(), None]),
    pl.Series("ms", [MOMENT, None], pl.Datetime("ms")),
    pl.Series("zone", [MOMENT, None], pl.Datetime("ns", "Europe/Berlin")),
    pl.Series("duration", [datetime.timedelta(1), None]),
    pl.Series("null", [None, None]),
    pl.Series("list", [[1, None], None, []], pl.List(pl.Int8)),
    pl.Series("array", [[1, 2], None], pl.Array(pl.Int8, 2)),
    pl.Series("struct", [{"a": 1, "b": ["x"]}, None]),
    pl.Series("", [], pl.Int8),
]


@pytest.mark.parametrize("value", SERIES, ids=lambda value: value.name)
def test_every_type_comes_back(there_and_back: Callable[[Any, str], Any], value: Any) -> None:
    back = there_and_back(value, "polars")
    assert type(back) is pl.Series
    assert (back.name, back.dtype) == (value.name, value.dtype)
    assert back.equals(value, null_equal=True)
    frame = there_and_back(value.to_frame(), "polars")
    assert type(frame) is pl.DataFrame
    assert frame.schema == value.to_frame().schema
    assert frame.equals(value.to_frame())


def test_a_frame_without_columns_comes_back(there_and_back: Callable[[Any, str], Any]) -> None:
    assert there_and_back(pl.DataFrame(), "polars").equals(pl.DataFrame())


def test_a_big_frame_comes_back(there_and_back: Callable[[Any, str], Any]) -> None:
    value = pl.DataFrame({"a": range(400_000), "b": ["text"] * 400_000})
    assert there_and_back(value, "polars").equals(value)


def test_not_a_number_stays_one(there_and_back: Callable[[Any, str], Any]) -> None:
    back = there_and_back(pl.Series([float("nan"), None, 1.0]), "polars")
    assert back.is_nan().to_list() == [True, None, False]


def test_a_lazy_frame_is_carried_out(there_and_back: Callable[[Any, str], Any], tmp_path: Path) -> None:
    source = tmp_path / "source.csv"
    source.write_text("a,b\n1,x\n2,y\n3,z\n")
    plan = (
        pl.scan_csv(source)
        .filter(pl.col("a") > 1)
        .with_columns(c=pl.col("a").map_batches(lambda column: column * 2, pl.Int64))
    )
    expected = plan.collect()
    back = there_and_back(plan, "polars")
    source.unlink()
    assert type(back) is pl.LazyFrame
    assert back.collect().equals(expected)


def test_a_plan_that_fails_is_told(shelf: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"missing\.csv"):
        shelf.save(pl.scan_csv(tmp_path / "missing.csv"))


class Frame(pl.DataFrame):
    pass


@pytest.mark.parametrize(
    "make",
    [
        lambda: Frame({"a": [1]}),
        lambda: pl.DataFrame(height=3),
    ],
)
def test_what_the_file_cannot_say_is_pickled_and_says_so(shelf: Any, make: Callable[[], Any]) -> None:
    artifact = shelf.save(make())
    assert (artifact.materializer, artifact.code_bearing) == ("pickle", True)


def test_objects_cannot_be_kept_and_that_is_said(shelf: Any) -> None:
    for value in (
        pl.Series([object()], dtype=pl.Object),
        pl.DataFrame({"o": pl.Series([{1}], dtype=pl.Object)}).lazy(),
    ):
        with pytest.raises(ArtifactError, match="cannot be pickled"):
            shelf.save(value)


def test_the_facts(shelf: Any) -> None:
    value = pl.DataFrame({"n": [1, 2, None, 11], "x": [0.5, float("nan"), 1.5, None], "t": ["a", "b" * 500, None, "d"]})
    facts = shelf.save(value).metadata
    assert (facts["rows"], facts["column_count"]) == (4, 3)
    number, real, text = facts["columns"]
    assert number == {
        "name": "n",
        "dtype": "Int64",
        "count": 3,
        "nulls": 1,
        "min": 1,
        "max": 11,
        "mean": 14 / 3,
        "histogram": [1, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    }
    assert (real["count"], real["not_finite"], real["min"], real["max"], real["mean"]) == (3, 1, 0.5, 1.5, 1.0)
    assert text == {"name": "t", "dtype": "String", "count": 3, "nulls": 1}
    assert facts["head"][0] == [1, 0.5, "a"]
    assert len(facts["head"][1][2]) == 61


@pytest.mark.parametrize("value", SERIES, ids=lambda value: value.name)
def test_every_type_has_facts(shelf: Any, value: Any) -> None:
    (column,) = shelf.save(value).metadata["columns"]
    assert column["count"] + column["nulls"] == len(value)
    assert ("mean" in column) == (value.dtype.is_numeric() and len(value) > 0)


def test_the_facts_of_a_wide_frame_are_bounded(shelf: Any) -> None:
    facts = shelf.save(pl.DataFrame({f"column {number}": ["x" * 100] * 5 for number in range(500)})).metadata
    assert len(json.dumps(facts)) <= LIMIT
    assert "omitted" not in facts
    assert facts["column_count"] == 500
    assert facts["head"]


def test_a_lazy_frame_has_facts(shelf: Any) -> None:
    facts = shelf.save(pl.LazyFrame({"a": [1, 2]})).metadata
    assert facts["rows"] == 2
    assert facts["columns"] == [
        {
            "name": "a",
            "dtype": "Int64",
            "count": 2,
            "nulls": 0,
            "min": 1,
            "max": 2,
            "mean": 1.5,
            "histogram": [1, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        }
    ]
    assert facts["head"] == [[1], [2]]
