"""Data frames in Parquet, which everything else reads too: those that come back from it exactly as they were.

Parquet changes a good deal of what pandas can hold: labels that are no strings, the frequency of an index, seconds, the order of
categories, objects in columns. What is sure to come back is told by the dtypes, and by writing and reading the frame without its
rows, before any data is written.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

from penstock.errors import ArtifactError
from penstock.runtime.materializers.base import is_local

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

NAME = "frame.parquet"


def table_of(frame: pd.DataFrame) -> pa.Table | None:
    """The frame as the table that Parquet keeps; None if it would not come back as it is, or if pyarrow is not there."""
    if not _is_plain(frame):
        return None
    try:
        import pyarrow as pa  # an extra of its own: without it frames have another form
    except ImportError:
        return None
    try:
        without_rows, buffer = frame.iloc[:0], io.BytesIO()
        write(_table(without_rows), buffer)
        back = read(buffer)
        return _table(frame) if _alike(back, without_rows) else None
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None  # such as a text with half a surrogate pair


def write(table: pa.Table, target: Path | io.BytesIO) -> None:
    """Write the table. Numbers are not looked up in dictionaries: that takes longer and seldom saves anything."""
    import pyarrow as pa  # there: the table is of it
    from pyarrow import parquet

    texts = [one.name for one in table.schema if pa.types.is_string(one.type) or pa.types.is_large_string(one.type)]
    parquet.write_table(table, target, use_dictionary=texts, row_group_size=1 << 20)


def read(file: BinaryIO) -> Any:
    """The frame."""
    try:
        from pyarrow import parquet  # only where there is such a frame to read
    except ImportError:
        raise ArtifactError("This data frame is kept in Parquet: `pip install pyarrow` to load it.") from None
    mapped = is_local(file)
    return parquet.ParquetFile(file.name if mapped else file, memory_map=mapped).read().to_pandas()


def _table(frame: pd.DataFrame) -> pa.Table:
    import pyarrow as pa  # the caller has seen that it is there

    return pa.Table.from_pandas(frame)


def _is_plain(frame: pd.DataFrame) -> bool:
    """Whether labels, index and columns are of sorts that Parquet has."""
    index, columns = frame.index, frame.columns
    labels = columns.tolist()
    return (
        bool(labels)
        and not frame.attrs
        and frame.flags.allows_duplicate_labels
        and columns.name is None
        and all(type(one) is str for one in labels)
        and len(set(labels)) == len(labels)
        and _is_plain_index(index)
        and all(_is_plain_dtype(dtype) for dtype in frame.dtypes)
    )


def _is_plain_index(index: Any) -> bool:
    import pandas as pd  # imported already: the value is of it

    if index.name is not None and type(index.name) is not str:
        return False
    if type(index) is pd.RangeIndex:
        return True
    return (
        type(index) in (pd.Index, pd.DatetimeIndex, pd.TimedeltaIndex)
        and getattr(index, "freq", None) is None
        and _is_plain_dtype(index.dtype)
    )


def _is_plain_dtype(dtype: Any) -> bool:
    import numpy as np  # imported already: the value is of it
    import pandas as pd

    if isinstance(dtype, np.dtype):
        return dtype.kind in "biufMm"
    signed = (pd.Int8Dtype, pd.Int16Dtype, pd.Int32Dtype, pd.Int64Dtype)
    unsigned = (pd.UInt8Dtype, pd.UInt16Dtype, pd.UInt32Dtype, pd.UInt64Dtype)
    return isinstance(dtype, (*signed, *unsigned, pd.BooleanDtype, pd.DatetimeTZDtype, pd.StringDtype))


def _alike(back: pd.DataFrame, frame: pd.DataFrame) -> bool:
    return (
        list(back.dtypes) == list(frame.dtypes)
        and list(back.columns) == list(frame.columns)
        and back.columns.dtype == frame.columns.dtype
        and type(back.index) is type(frame.index)
        and back.index.dtype == frame.index.dtype
        and back.index.name == frame.index.name
    )
