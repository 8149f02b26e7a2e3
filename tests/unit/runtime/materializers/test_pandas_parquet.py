from __future__ import annotations

import datetime
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.runtime.materializers import pandas_parquet

DAYS = pd.DatetimeIndex(["2024-01-01", "2024-01-05", "2024-01-02"], name="day")
ORDINARY = pd.DataFrame(
    {
        "whole": [1, 2, 3],
        "small": np.array([1, 2, 3], dtype="uint8"),
        "number": [0.5, np.nan, -np.inf],
        "flag": [True, False, True],
        "text": ["a", None, "\u00e9"],
        "string": pd.array(["a", None, "b"], dtype="string"),
        "nullable": pd.array([1, None, 2**62 + 1], dtype="Int64"),
        "maybe": pd.array([True, None, False], dtype="boolean"),
        "when": pd.to_datetime(["2024-01-01", None, "1700-01-01"]).astype("M8[ns]"),
        "where": pd.to_datetime(["2024-10-27 00:30", None, "2024-10-27 01:30"], utc=True).tz_convert("Europe/Berlin"),
        "long": pd.to_timedelta(["1s", None, "-3 days"]),
    }
)


def there_and_back(frame: pd.DataFrame) -> Any:
    """What comes back from Parquet; None if it is not asked to keep it."""
    table = pandas_parquet.table_of(frame)
    if table is None:
        return None
    buffer = io.BytesIO()
    pandas_parquet.write(table, buffer)
    return pandas_parquet.read(buffer)


@pytest.mark.parametrize(
    "index", [None, DAYS, pd.Index(["x", "y", "z"], name="key"), pd.RangeIndex(4, 10, 2, name="n")]
)
def test_ordinary_frames_are_kept_in_parquet(index: Any) -> None:
    frame = ORDINARY if index is None else ORDINARY.set_index(index)
    back = there_and_back(frame)
    pd.testing.assert_frame_equal(back, frame, check_exact=True)
    assert type(back.index) is type(frame.index)


def test_others_can_read_the_file(tmp_path: Path) -> None:
    table = pandas_parquet.table_of(ORDINARY)
    assert table is not None
    pandas_parquet.write(table, tmp_path / "frame.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "frame.parquet"), ORDINARY)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"a": pd.Series([1, "x"], dtype=object)}),
        pd.DataFrame({"a": pd.Series(["x", None], dtype=object)}),
        pd.DataFrame({"a": ["x", "y"]}, dtype="category"),
        pd.DataFrame({"a": [1j]}),
        pd.DataFrame({"a": pd.Series(np.array(["2024-01-01"], dtype="M8[s]"))}),
        pd.DataFrame({"a": pd.Series([1.5, None], dtype="Float64")}),
        pd.DataFrame({"a": pd.period_range("2024-01", periods=2, freq="M")}),
        pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}),
        pd.DataFrame({1: [1]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1]], columns=pd.Index(["a"], name="columns")),
        pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2024-01-01", periods=2, freq="D")),
        pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
        pd.DataFrame({"a": [1, 2]}, index=pd.Index([1, "x"], dtype=object)),
        pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
        pd.DataFrame({"a": pd.array(["\ud800"], dtype="string[python]")}),
    ],
)
def test_what_would_not_come_back_as_it_is_is_left_to_the_other_form(frame: pd.DataFrame) -> None:
    assert pandas_parquet.table_of(frame) is None


def test_attributes_are_left_to_the_other_form() -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"source": ("db", 1)}
    assert pandas_parquet.table_of(frame) is None


@pytest.mark.parametrize("name", ["a", "__index_level_0__", "index"])
def test_an_index_may_be_called_like_a_column(name: str) -> None:
    frame = pd.DataFrame({name: [1, 2], "b": [3, 4]}, index=pd.Index([7, 8], name=name))
    back = there_and_back(frame)
    if back is not None:
        pd.testing.assert_frame_equal(back, frame)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
columns = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3).map(lambda one: pd.Series(one, dtype="int64")),
    st.lists(st.floats(), min_size=3, max_size=3).map(lambda one: pd.Series(one, dtype="float64")),
    st.lists(st.floats(width=32), min_size=3, max_size=3).map(lambda one: pd.Series(one, dtype="float32")),
    st.lists(st.none() | st.integers(0, 255), min_size=3, max_size=3).map(lambda one: pd.Series(one, dtype="UInt8")),
    st.lists(st.none() | st.booleans(), min_size=3, max_size=3).map(lambda one: pd.Series(one, dtype="boolean")),
    st.lists(st.none() | texts, min_size=3, max_size=3).map(lambda one: pd.Series(one, dtype="string")),
    st.lists(st.none() | texts, min_size=3, max_size=3).map(lambda one: pd.Series(one, dtype="str")),
    st.lists(st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)), min_size=3, max_size=3).map(
        lambda one: pd.Series(one, dtype="M8[us]")
    ),
)


@given(st.dictionaries(texts, columns, min_size=1, max_size=4), st.integers(0, 3))
def test_whatever_is_kept_comes_back_exactly(made: dict[str, pd.Series], rows: int) -> None:
    frame = pd.DataFrame(made).iloc[:rows]
    back = there_and_back(frame)
    assert back is not None
    pd.testing.assert_frame_equal(back, frame, check_exact=True)
    for name in frame.select_dtypes("float"):
        assert (np.signbit(back[name]) == np.signbit(frame[name]))[frame[name].notna()].all()


def test_without_pyarrow_frames_have_the_other_form() -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import pandas as pd\n"
        "from penstock.runtime.materializers import pandas_parquet\n"
        "assert pandas_parquet.table_of(pd.DataFrame({'a': [1]})) is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
