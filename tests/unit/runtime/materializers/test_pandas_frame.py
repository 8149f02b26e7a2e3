from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from penstock.runtime.materializers.preview import LIMIT

COLUMNS: dict[str, Any] = {
    "int64": pd.Series([1, -2, 3]),
    "uint8": pd.Series([1, 2, 3], dtype="uint8"),
    "float32": pd.Series([1.5, np.nan, np.inf], dtype="float32"),
    "complex": pd.Series([1j, 2, 3]),
    "bool": pd.Series([True, False, True]),
    "datetime[ns]": pd.Series(pd.to_datetime(["2024-01-01", None, "1700-01-01"])).astype("M8[ns]"),
    "datetime[s]": pd.Series(np.array(["2024-01-01", "NaT", "9999-01-01"], dtype="M8[s]")),
    "datetime, Berlin": pd.Series(
        pd.to_datetime(["2024-10-27 00:30", None, "2024-10-27 01:30"], utc=True)
    ).dt.tz_convert("Europe/Berlin"),
    "datetime, offset": pd.Series(pd.to_datetime(["2024-01-01T00:00+05:30"] * 3)),
    "datetime, UTC": pd.Series(pd.to_datetime(["2024-01-01"] * 3, utc=True)),
    "timedelta": pd.Series(pd.to_timedelta(["1s", None, "-3 days"])),
    "Int64": pd.Series([1, None, 2**62 + 1], dtype="Int64"),
    "UInt16": pd.Series([1, None, 3], dtype="UInt16"),
    "Float64": pd.Series([1.5, None, 3], dtype="Float64"),
    "boolean": pd.Series([True, None, False], dtype="boolean"),
    "string": pd.Series(["a", None, "é"], dtype="string"),
    "string[python]": pd.Series(["a", None, "é"], dtype="string[python]"),
    "text": pd.Series(["a", None, "\0"]),
    "objects": pd.Series(["a", None, np.nan], dtype=object),
    "mixed": pd.Series([1, "a", (1, datetime.date(2024, 1, 1))], dtype=object),
    "missing": pd.Series([pd.NA, pd.NaT, float("nan")], dtype=object),
    "decimals": pd.Series([decimal.Decimal("1.10"), decimal.Decimal("NaN"), None], dtype=object),
    "numbers as objects": pd.Series([1, None, 2**70], dtype=object),
    "lists": pd.Series([[1, 2], [], {"a": None}], dtype=object),
    "category": pd.Series(["b", None, "a"], dtype="category"),
    "ordered category": pd.Series(pd.Categorical([3, 1, 3], categories=[3, 2, 1], ordered=True)),
    "category of dates": pd.Series(pd.Categorical(pd.to_datetime(["2024-01-01", "2024-01-02", None]))),
    "period": pd.Series(pd.PeriodIndex(["2024-01", None, "2024-03"], freq="M")),
    "interval": pd.Series(pd.arrays.IntervalArray.from_tuples([(0, 1), None, (1, 2)], closed="left")),
}

INDEXES: dict[str, Any] = {
    "range": pd.RangeIndex(0, 3),
    "range with a step": pd.RangeIndex(5, -1, -2, name="n"),
    "int": pd.Index([3, 1, 1]),
    "float": pd.Index([0.5, np.nan, 1]),
    "text": pd.Index(["x", "y", None], name="key"),
    "objects": pd.Index([1, "a", None], dtype=object, name=("a", 1)),
    "dates with a frequency": pd.date_range("2024-01-31", periods=3, freq="ME", name="month"),
    "dates with a zone": pd.date_range("2024-03-30", periods=3, freq="D", tz="Europe/Berlin"),
    "dates without": pd.DatetimeIndex(["2024-01-01", "2024-01-05", "2024-01-02"]),
    "timedeltas": pd.timedelta_range("1h", periods=3, freq="30min"),
    "periods": pd.period_range("2024Q1", periods=3, freq="Q"),
    "intervals": pd.interval_range(0, 3),
    "categories": pd.CategoricalIndex(["a", "b", "a"], categories=["b", "a"], ordered=True),
    "nullable": pd.Index([1, None, 3], dtype="Int64"),
    "bool": pd.Index([True, False, True]),
    "levels": pd.MultiIndex.from_arrays(
        [["a", "a", "b"], pd.to_datetime(["2024-01-01", None, "2024-01-02"])], names=["x", None]
    ),
    "levels with unused": pd.MultiIndex.from_product([["a", "b"], [1, 2]])[:3],
}

ThereAndBack = Callable[[Any, str], Any]


def assert_same_index(back: Any, index: Any) -> None:
    pd.testing.assert_index_equal(back, index, exact=True)
    assert type(back) is type(index)
    assert back.dtype == index.dtype
    assert list(back.names) == list(index.names)
    assert getattr(back, "freq", None) == getattr(index, "freq", None)


def assert_same_values(back: Any, value: Any) -> None:
    pd.testing.assert_series_equal(back, value, check_exact=True)
    if value.dtype == object:  # pandas finds all that is missing equal
        assert list(map(repr, back)) == list(map(repr, value))


@pytest.mark.parametrize("name", COLUMNS)
def test_every_dtype_comes_back(there_and_back: ThereAndBack, name: str) -> None:
    column = COLUMNS[name].rename("column")
    assert_same_values(there_and_back(column, "pandas"), column)
    frame = pd.DataFrame({"column": column})
    back = there_and_back(frame, "pandas")
    assert list(back.dtypes) == list(frame.dtypes)
    assert_same_values(back["column"], column)


def test_all_dtypes_together(there_and_back: ThereAndBack) -> None:
    frame = pd.DataFrame(COLUMNS)
    back = there_and_back(frame, "pandas")
    assert list(back.columns) == list(frame.columns)
    for name in frame:
        assert_same_values(back[name], frame[name])


@pytest.mark.parametrize("name", INDEXES)
def test_every_index_comes_back(there_and_back: ThereAndBack, name: str) -> None:
    index = INDEXES[name]
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=index)
    assert_same_index(there_and_back(frame, "pandas").index, index)
    assert_same_index(there_and_back(frame["a"], "pandas").index, index)
    wide = pd.DataFrame(np.eye(3), columns=index)
    back = there_and_back(wide, "pandas")
    assert_same_index(back.columns, index)
    np.testing.assert_array_equal(back.to_numpy(), np.eye(3))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame(index=pd.Index(["a", "b"], name="i")),
        pd.DataFrame(columns=["a", "b"]),
        pd.DataFrame({"a": []}, dtype="Int64"),
        pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"]),
        pd.DataFrame(np.arange(6.0).reshape(2, 3)),
        pd.DataFrame({1: [1], "1": [2], (1, 2): [3], None: [4]}),
        pd.DataFrame({"in/side": [1], "..": [2], "": [3]}),
    ],
    ids=["nothing", "index only", "columns only", "no rows", "same names", "numbered", "mixed names", "odd names"],
)
def test_odd_shapes_and_names_come_back(there_and_back: ThereAndBack, frame: Any) -> None:
    back = there_and_back(frame, "pandas")
    pd.testing.assert_frame_equal(back, frame, check_exact=True)
    assert_same_index(back.columns, frame.columns)
    assert_same_index(back.index, frame.index)


@pytest.mark.parametrize("name", ["a", None, 3, ("a", 1), datetime.date(2024, 1, 1)])
def test_the_name_of_a_series_comes_back(there_and_back: ThereAndBack, name: Any) -> None:
    assert there_and_back(pd.Series([1], name=name), "pandas").name == name


def test_attributes_and_flags_come_back(there_and_back: ThereAndBack) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"source": ("db", 1)}
    back = there_and_back(frame.set_flags(allows_duplicate_labels=False), "pandas")
    assert back.attrs == {"source": ("db", 1)}
    assert not back.flags.allows_duplicate_labels


def test_a_loaded_frame_may_be_changed(there_and_back: ThereAndBack) -> None:
    back = there_and_back(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "pandas")
    back.loc[0, "a"] = 7
    back["c"] = 1
    assert back["a"].tolist() == [7, 2]


class Sub(pd.DataFrame):
    @property
    def _constructor(self) -> Any:
        return Sub


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sub({"a": [1]}),
        lambda: pd.Series(pd.arrays.SparseArray([0, 0, 1])),
        lambda: pd.Series([{object}], dtype=object),
        lambda: pd.Series([pd.Timestamp("2024-01-01"), 1], dtype=object),
        lambda: pd.Series(
            [1], index=pd.DatetimeIndex(["2024-01-02"], freq=pd.offsets.CustomBusinessDay(holidays=["2024-01-01"]))
        ),
        lambda: pd.Series([1, None], dtype="int64[pyarrow]"),
    ],
    ids=["subclass", "sparse", "objects", "timestamps among objects", "holidays", "Arrow"],
)
def test_what_has_no_exact_form_is_pickled_and_says_so(shelf: Any, make: Callable[[], Any]) -> None:
    value = make()
    artifact = shelf.save(value)
    assert (artifact.materializer, artifact.code_bearing) == ("pickle", True)
    assert type(shelf.load(artifact, allow_code=True)) is type(value)


def test_equal_frames_have_equal_digests(shelf: Any) -> None:
    assert shelf.save(pd.DataFrame(COLUMNS)).digest == shelf.save(pd.DataFrame(COLUMNS)).digest


def test_the_facts(shelf: Any) -> None:
    frame = pd.DataFrame({"n": range(100), "x": [0.5, np.nan] * 50, "t": ["x" * 1000] * 100})
    facts = shelf.save(frame).metadata
    assert facts["rows"] == 100
    assert facts["column_count"] == 3
    number, real, text = facts["columns"]
    assert (number["name"], number["dtype"], number["count"], number["nulls"]) == ("n", "int64", 100, 0)
    assert (number["min"], number["max"], number["mean"], number["histogram"]) == (0, 99, 49.5, [10] * 10)
    assert (real["count"], real["nulls"], real["min"], real["max"]) == (50, 50, 0.5, 0.5)
    assert text == {"name": "t", "dtype": str(frame["t"].dtype), "count": 100, "nulls": 0}
    assert facts["index"] == [0, 1, 2, 3, 4]
    assert facts["head"][1][:2] == [1, "nan"]
    assert len(facts["head"][1][2]) < 500


def test_the_facts_of_a_wide_frame_are_small(shelf: Any) -> None:
    frame = pd.DataFrame({f"{number}" * 100: ["text" * 500] * 10 for number in range(300)})
    facts = shelf.save(frame).metadata
    assert len(json.dumps(facts, separators=(",", ":"))) <= LIMIT
    assert facts["column_count"] == 300
    assert "omitted" not in facts
    assert facts["columns"]
    assert facts["head"]
