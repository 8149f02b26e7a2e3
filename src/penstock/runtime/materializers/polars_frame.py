"""polars' frames and series, in Arrow's file format as polars writes it: it keeps every type of polars but objects.

A lazy frame is a plan. It is carried out when it is saved, and what comes back is a lazy frame over the result: what the
plan reads may be gone by then, and a plan may hold functions, which only pickle could keep.
"""

from __future__ import annotations

import io
from typing import Any

from penstock.runtime.materializers import summary
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit

_FRAME = "frame.arrow"
_SERIES = "series.arrow"
_LAZY = "lazy.arrow"


class PolarsFrame(Materializer):
    """`DataFrame`, `Series` and `LazyFrame` themselves; a subclass may hold more, and is left to pickle."""

    name = "polars"

    def handles(self, kind: type) -> bool:
        """Whether it is one of the three."""
        return kind.__module__.partition(".")[0] == "polars" and kind.__name__ in {"DataFrame", "Series", "LazyFrame"}

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the frame. A lazy frame is carried out here, and need not fit into memory."""
        import polars as pl  # imported already: the value is of it

        if type(value) is pl.LazyFrame:
            return _save_lazy(value, sink)
        if type(value) not in (pl.DataFrame, pl.Series):
            raise Unfit
        frame = value.to_frame() if type(value) is pl.Series else value
        if not _fits(frame):
            raise Unfit
        frame.write_ipc(sink.path(_SERIES if frame is not value else _FRAME))
        return _facts(frame)

    def load(self, files: Files, type_hint: Any) -> Any:
        """The frame, series or lazy frame."""
        import polars as pl  # only where there is a frame to read

        (name,) = files.names
        frame = pl.read_ipc(files.open(name))
        return frame.to_series() if name == _SERIES else frame.lazy() if name == _LAZY else frame


def _save_lazy(plan: Any, sink: Sink) -> dict[str, Any]:
    import polars as pl  # imported already: the value is of it

    schema = plan.collect_schema()
    if not _fits(pl.DataFrame(schema=schema)):
        raise Unfit
    path = sink.path(_LAZY)
    plan.sink_ipc(path)
    result = pl.scan_ipc(path)
    columns = [
        summary.Column(name, str(dtype), lambda name=name: _statistics(result.select(name).collect().to_series()))  # type: ignore[misc]
        for name, dtype in schema.items()
    ]
    rows = summary.attempt(lambda: result.select(pl.len()).collect().item(), None)
    return summary.table(rows, columns, lambda: result.head(summary.ROWS).collect().rows())


def _fits(frame: Any) -> bool:
    """Whether the file says the types of all columns: seen by writing a frame without rows."""
    import polars as pl  # imported already: the value is of it

    if not frame.width and frame.height:
        return False  # rows of nothing: their number is kept nowhere
    if any(pl.Object in (dtype, *_inside(dtype)) for dtype in frame.dtypes):
        return False
    buffer = io.BytesIO()
    try:
        frame.clear().write_ipc(buffer)
        buffer.seek(0)
        kept = pl.read_ipc(buffer).schema
    except pl.exceptions.PolarsError:
        return False
    return bool(kept == frame.schema)


def _inside(dtype: Any) -> list[Any]:
    """The types that a nested type is built of, at any depth."""
    found = [field.dtype for field in getattr(dtype, "fields", ())]
    inner = getattr(dtype, "inner", None)
    found += [] if inner is None else [inner]
    return found + [deeper for one in found for deeper in _inside(one)]


def _facts(frame: Any) -> dict[str, Any]:
    columns = [
        summary.Column(column.name, str(column.dtype), lambda column=column: _statistics(column))  # type: ignore[misc]
        for column in frame.get_columns()
    ]
    facts = summary.table(frame.height, columns, frame.head(summary.ROWS).rows)
    return facts | {"bytes": summary.attempt(frame.estimated_size, None)}


def _statistics(column: Any) -> dict[str, Any]:
    nulls = column.null_count()
    facts = {"count": len(column) - nulls, "nulls": nulls}
    numeric, temporal = column.dtype.is_numeric(), column.dtype.is_temporal()
    if not facts["count"] or not (numeric or temporal):
        return facts
    import polars as pl  # imported already: the value is of it

    try:
        return facts | (_numbers(column) if numeric else _extent(column))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):  # a panic is no Exception
        return facts


def _extent(column: Any) -> dict[str, Any]:
    return {"min": column.min(), "max": column.max()}


def _numbers(column: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    column = column.drop_nulls()
    if column.dtype.is_float():
        finite = column.is_finite()
        if not finite.all():
            facts["not_finite"] = len(column) - finite.sum()
            column = column.filter(finite)
    facts |= _extent(column)
    if not len(column):
        return facts  # not one number in it
    facts["mean"] = column.mean()
    low, every = float(facts["min"]), summary.stride(len(column))
    per_unit = summary.scale(low, float(facts["max"]))
    if per_unit is None:
        return facts
    import polars as pl  # imported already: the value is of it

    bins = ((column.gather_every(every).cast(pl.Float64) - low) * per_unit).floor().clip(0, summary.BINS - 1)
    counted = bins.value_counts()
    return facts | summary.histogram(dict(counted.rows()), every)
