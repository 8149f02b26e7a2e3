"""Arrow tables and record batches: Parquet where that says it all, and Arrow's own stream format where it does not.

Parquet has no seconds, no maps with named fields, no unions; a dictionary may come back in another order or without the
entries that no row uses. Whether it keeps a schema is seen by writing one, before any data is written.

Extension types of other packages are left to pickle, which is marked: where the package is not imported, Arrow would give
back plain storage in their place and not say so.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any

from penstock.runtime.materializers import summary
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit

_PARQUET = "table.parquet"
_STREAM = "table.arrows"
_BATCH = "batch.arrows"
_EXTENSION = b"ARROW:extension:name"
_EVERYWHERE = "arrow."  # the canonical extension types, which come with Arrow itself


class ArrowTable(Materializer):
    """`Table` and `RecordBatch`, with the metadata of schema and fields."""

    name = "arrow"

    def handles(self, kind: type) -> bool:
        """Whether it is one of the two."""
        return kind.__module__.partition(".")[0] == "pyarrow" and kind.__name__ in {"Table", "RecordBatch"}

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the table, streamed into one file."""
        import pyarrow as pa  # imported already: the value is of it

        if type(value) not in (pa.Table, pa.RecordBatch) or any(map(_is_foreign, value.schema)):
            raise Unfit
        if type(value) is pa.RecordBatch:
            _write_stream(value, sink, _BATCH)
            return _facts(pa.Table.from_batches([value]))
        if _fits_parquet(value):
            from pyarrow import parquet  # a part of pyarrow that it does not import itself

            parquet.write_table(value, sink.path(_PARQUET), use_compliant_nested_type=False)
        else:
            _write_stream(value, sink, _STREAM)
        return _facts(value)

    def load(self, files: Files, type_hint: Any) -> Any:
        """The table or record batch."""
        import pyarrow as pa  # only where there is a table to read
        from pyarrow import parquet

        if _PARQUET in files.names:
            return parquet.ParquetFile(files.open(_PARQUET)).read()
        if _STREAM in files.names:
            return pa.ipc.open_stream(files.open(_STREAM)).read_all()
        return pa.ipc.open_stream(files.open(_BATCH)).read_next_batch()


def _write_stream(value: Any, sink: Sink, name: str) -> None:
    import pyarrow as pa  # imported already: the value is of it

    with pa.OSFile(str(sink.path(name)), "wb") as file, pa.ipc.new_stream(file, value.schema) as writer:
        writer.write(value)


def _fits_parquet(table: Any) -> bool:
    import pyarrow as pa  # imported already: the value is of it
    from pyarrow import parquet

    if not table.num_columns or any(pa.types.is_dictionary(kind) for kind in _types(table.schema)):
        return False
    buffer = io.BytesIO()
    try:
        parquet.write_table(table.slice(0, 0), buffer, use_compliant_nested_type=False)
        kept = parquet.ParquetFile(buffer).schema_arrow
    except (pa.ArrowException, OSError):
        return False
    return bool(kept.equals(table.schema, check_metadata=True))


def _types(schema: Any) -> Iterator[Any]:
    waiting = list(schema)
    while waiting:
        kind = waiting.pop().type
        yield kind
        waiting.extend(_inside(kind))


def _inside(kind: Any) -> list[Any]:
    return [kind.field(at) for at in range(kind.num_fields)]


def _is_foreign(field: Any) -> bool:
    """Whether a field is, or was before somebody lost it, of an extension type that is not everywhere."""
    import pyarrow as pa  # imported already: the value is of it

    if field.metadata and _EXTENSION in field.metadata:
        return True
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        return not kind.extension_name.startswith(_EVERYWHERE) or _is_foreign(pa.field("", kind.storage_type))
    if pa.types.is_dictionary(kind):
        return _is_foreign(pa.field("", kind.value_type))
    return any(map(_is_foreign, _inside(kind)))


def _facts(table: Any) -> dict[str, Any]:
    columns = [
        summary.Column(field.name, str(field.type), lambda column=column: _statistics(column))  # type: ignore[misc]
        for field, column in zip(table.schema, table.columns, strict=True)
    ]

    def head() -> Any:
        return zip(*(column.slice(0, summary.ROWS).to_pylist() for column in table.columns), strict=True)

    return summary.table(table.num_rows, columns, head) | {"bytes": summary.attempt(lambda: table.nbytes, None)}


def _statistics(column: Any) -> dict[str, Any]:
    import pyarrow as pa  # imported already: the value is of it

    facts = {"count": len(column) - column.null_count, "nulls": column.null_count}
    kind = column.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not facts["count"] or not (numeric or pa.types.is_temporal(kind)):
        return facts
    found: dict[str, Any] = summary.attempt(lambda: _numbers(column) if numeric else _extent(column), {})
    return facts | found


def _extent(column: Any) -> dict[str, Any]:
    import pyarrow.compute as pc  # a part of pyarrow that it does not import itself

    return dict(pc.min_max(column).as_py())


def _numbers(column: Any) -> dict[str, Any]:
    import pyarrow as pa  # imported already: the value is of it
    import pyarrow.compute as pc

    facts: dict[str, Any] = {}
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float32()) if column.type == pa.float16() else column
        if not math.isfinite(pc.mean(column).as_py()):  # one look for what is seldom there
            finite = pc.is_finite(column)
            facts["not_finite"] = pc.sum(pc.invert(finite)).as_py()
            column = column.filter(finite)
    facts |= _extent(column)
    if facts["min"] is None:
        return facts  # not one number in it
    facts["mean"] = pc.mean(column).as_py()
    low, every = float(facts["min"]), summary.stride(len(column))
    per_unit = summary.scale(low, float(facts["max"]))
    if per_unit is None:
        return facts
    sample = column.take(pa.array(range(0, len(column), every))) if every > 1 else column
    bins = pc.floor(pc.multiply(pc.subtract(sample.cast(pa.float64(), safe=False), low), per_unit))
    counted = pc.value_counts(pc.min_element_wise(bins, summary.BINS - 1, skip_nulls=False).drop_null())
    return facts | summary.histogram({one["values"]: one["counts"] for one in counted.to_pylist()}, every)
