"""pandas data frames and series: Parquet where that is exact, else numbers as numpy arrays and all else as JSON, in one `.npz`.

Parquet changes much of what pandas can hold (see `pandas_parquet`), and it needs pyarrow. In the other form every column and
index is written by its own dtype, exactly, or not at all: what has no exact form (sparse, Arrow-backed and foreign dtypes,
columns of arbitrary objects) is left to pickle, which is marked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from penstock.runtime.materializers import pandas_parquet, summary
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.numpy_array import is_exact, numbers
from penstock.runtime.materializers.structured import decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

_LAYOUT = "frame.json"
_ARRAYS = "arrays.npz"

Form = dict[str, Any]
"""How one column or index was written, as JSON. Its `kind` says how to read it; keys of arrays are strings."""


class PandasFrame(Materializer):
    """`DataFrame` and `Series` themselves; a subclass may hold more, and is left to pickle."""

    name = "pandas"

    def handles(self, kind: type) -> bool:
        """Whether it is one of the two."""
        return kind.__module__.partition(".")[0] == "pandas" and kind.__name__ in {"DataFrame", "Series"}

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the frame with its index, names, dtypes and attributes."""
        import numpy as np  # imported already: the value needs it
        import pandas as pd

        if type(value) not in (pd.DataFrame, pd.Series):
            raise Unfit
        series, writer = isinstance(value, pd.Series), _Writer()
        columns = [value] if series else [value.iloc[:, at] for at in range(value.shape[1])]
        table = None if series else pandas_parquet.table_of(value)
        if table is not None:
            pandas_parquet.write(table, sink.path(pandas_parquet.NAME))
            return _facts(value, columns)
        layout = {
            "series": series,
            "columns": [writer.column(column) for column in columns],
            "index": writer.index(value.index),
            "names": writer.objects([value.name]) if series else writer.index(value.columns),
            "attrs": writer.objects([value.attrs]),
            "duplicates": value.flags.allows_duplicate_labels,
        }
        sink.write(_LAYOUT, msgspec.json.encode(layout))
        with sink.path(_ARRAYS).open("wb") as file:
            np.savez(file, **writer.arrays)
        return _facts(value, columns)

    def load(self, files: Files, type_hint: Any) -> Any:
        """The frame or series."""
        import numpy as np  # only where there is a frame to read
        import pandas as pd

        if pandas_parquet.NAME in files.names:
            return pandas_parquet.read(files.open(pandas_parquet.NAME))
        layout = msgspec.json.decode(files.read(_LAYOUT))
        with np.load(files.open(_ARRAYS), allow_pickle=False) as arrays:
            reader = _Reader(arrays)
            index = reader.index(layout["index"])
            columns = [reader.column(form, index) for form in layout["columns"]]
            (attrs,) = reader.objects(layout["attrs"])
            value: Any
            if layout["series"]:
                (value,) = columns
                (value.name,) = reader.objects(layout["names"])
            else:
                value = pd.DataFrame(dict(enumerate(columns)), index=index)
                value.columns = reader.index(layout["names"])
        value.attrs = attrs
        return value if layout["duplicates"] else value.set_flags(allows_duplicate_labels=False)


class _Writer:
    """Columns and indexes on their way into `arrays`; each leaves a form. Raises `Unfit` for what has none."""

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}

    def index(self, index: Any) -> Form:
        """An index of any class, with its names."""
        import pandas as pd  # imported already: the value is of it

        names = self.objects(list(index.names))
        if type(index) is pd.RangeIndex:
            return {"kind": "range", "range": [index.start, index.stop, index.step], "names": names}
        if type(index) is pd.MultiIndex:
            levels = [self.index(level) for level in index.levels]
            return {
                "kind": "levels",
                "levels": levels,
                "codes": [self._keep(codes) for codes in index.codes],
                "names": names,
            }
        if type(index).__module__.partition(".")[0] != "pandas":
            raise Unfit
        return {"kind": "index", "values": self.column(index), "freq": _frequency(index), "names": names}

    def column(self, column: Any) -> Form:
        """The values of a series or an index."""
        import numpy as np  # imported already: the value needs it
        import pandas as pd

        dtype, array = column.dtype, column.array
        if isinstance(dtype, np.dtype):
            if dtype.kind == "O":
                return {"kind": "object", "values": self.objects(column.tolist())}
            return {"kind": "plain", "values": self._keep(column.to_numpy())}
        if isinstance(dtype, pd.CategoricalDtype):
            of = self.index(dtype.categories)
            return {"kind": "category", "codes": self._keep(array.codes), "of": of, "ordered": dtype.ordered}
        if isinstance(dtype, pd.StringDtype):
            missing = "NA" if dtype.na_value is pd.NA else "nan"
            texts = self.objects(array.to_numpy(dtype=object, na_value=None).tolist())
            return {"kind": "string", "storage": dtype.storage, "missing": missing, "values": texts}
        if isinstance(array, pd.arrays.IntegerArray | pd.arrays.FloatingArray | pd.arrays.BooleanArray):
            values = self._keep(array.to_numpy(dtype=dtype.numpy_dtype, na_value=0))
            return {"kind": "masked", "values": values, "mask": self._keep(array.isna())}
        return self._times(array)

    def _times(self, array: Any) -> Form:
        import pandas as pd  # imported already: the value is of it

        dtype = array.dtype
        if isinstance(dtype, pd.DatetimeTZDtype) and _dtype_of(str(dtype)) == dtype:
            return {"kind": "zoned", "dtype": str(dtype), "values": self._keep(array.asi8)}
        if isinstance(dtype, pd.PeriodDtype) and _dtype_of(str(dtype)) == dtype:
            return {"kind": "period", "dtype": str(dtype), "values": self._keep(array.asi8)}
        if isinstance(dtype, pd.IntervalDtype):
            left, right = self.index(array.left), self.index(array.right)
            return {"kind": "interval", "closed": dtype.closed, "left": left, "right": right}
        raise Unfit

    def objects(self, values: list[Any]) -> Form:
        """Any values that JSON, tagged where needed, can hold. What stands for a missing one keeps its sort."""
        import numpy as np  # imported already: the value needs it
        import pandas as pd

        missing: dict[str, list[int]] = {}
        kept = list(values)
        for at in np.flatnonzero(pd.isna(_object_array(values))).tolist():
            sort = _sort_of_missing(values[at])
            if sort is not None:
                missing.setdefault(sort, []).append(at)
                kept[at] = None
        text = self._keep(np.frombuffer(encoded(kept, _refuse), np.uint8))
        return {"text": text, "missing": {sort: self._keep(np.asarray(places)) for sort, places in missing.items()}}

    def _keep(self, array: Any) -> str:
        if not is_exact(array.dtype):
            raise Unfit
        key = str(len(self.arrays))
        self.arrays[key] = array
        return key


class _Reader:
    """Forms on their way back to columns and indexes."""

    def __init__(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self._arrays = arrays

    def index(self, form: Form) -> Any:
        """The index."""
        import pandas as pd  # only where there is a frame to read

        names = self.objects(form["names"])
        if form["kind"] == "range":
            start, stop, step = form["range"]
            return pd.RangeIndex(start, stop, step, name=names[0])
        if form["kind"] == "levels":
            codes: Any = [self._arrays[key] for key in form["codes"]]
            return pd.MultiIndex([self.index(level) for level in form["levels"]], codes, names=names)
        values = self._values(form["values"])
        index: Any = pd.Index(values, dtype=values.dtype, name=names[0])
        if form["freq"] is not None:
            index.freq = form["freq"]
        return index

    def column(self, form: Form, index: Any) -> Any:
        """The column, with this index."""
        import pandas as pd  # only where there is a frame to read

        values = self._values(form)
        # The dtype is named because pandas would make texts out of objects that look like it.
        return pd.Series(values, index=index, dtype=values.dtype, copy=False)

    def objects(self, form: Form) -> list[Any]:
        """The values that `_Writer.objects` kept."""
        import pandas as pd  # only where there is a frame to read

        values: list[Any] = decoded(self._arrays[form["text"]].tobytes(), _refuse)
        stand_ins = {"nan": float("nan"), "NA": pd.NA, "NaT": pd.NaT}
        for sort, key in form["missing"].items():
            for at in self._arrays[key].tolist():
                values[at] = stand_ins[sort]
        return values

    def _values(self, form: Form) -> Any:
        import pandas as pd  # only where there is a frame to read

        match form["kind"]:
            case "plain":
                return self._arrays[form["values"]]
            case "object":
                return _object_array(self.objects(form["values"]))
            case "string":
                return pd.array(self.objects(form["values"]), dtype=_string_dtype(form))
            case "masked":
                return _masked(self._arrays[form["values"]], self._arrays[form["mask"]])
            case "category":
                dtype = pd.CategoricalDtype(self.index(form["of"]), ordered=form["ordered"])
                return pd.Categorical.from_codes(self._arrays[form["codes"]], dtype=dtype)
            case "interval":
                left, right = self.index(form["left"]), self.index(form["right"])
                return pd.arrays.IntervalArray.from_arrays(left, right, closed=form["closed"])
            case "zoned":
                zoned = _dtype_of(form["dtype"])
                moments = pd.DatetimeIndex(self._arrays[form["values"]].view(f"M8[{zoned.unit}]"), tz="UTC")
                return moments.tz_convert(zoned.tz).array
            case "period":
                periods: Any = pd.PeriodIndex
                return periods.from_ordinals(self._arrays[form["values"]], freq=_dtype_of(form["dtype"]).freq).array
            case unknown:
                raise ValueError(f"a column of the unknown kind '{unknown}'")


def _refuse(_: Any) -> Any:
    """In the place of parts: what is no data has no form inside a column."""
    raise Unfit


def _object_array(values: list[Any]) -> np.ndarray[Any, Any]:
    import numpy as np  # needed by every frame

    return np.fromiter(values, dtype=object, count=len(values))


def _sort_of_missing(value: Any) -> str | None:
    import pandas as pd  # needed by every frame

    if type(value) is float:
        return "nan"
    if value is pd.NA:
        return "NA"
    return "NaT" if value is pd.NaT else None


def _dtype_of(name: str) -> Any:
    import pandas as pd  # needed by every frame

    try:
        return pd.api.types.pandas_dtype(name)
    except (TypeError, ValueError):
        return None  # a time zone or frequency whose name does not say what it is


def _string_dtype(form: Form) -> Any:
    import pandas as pd  # needed by every frame

    # Before pandas 2.3 there was only NA, and no argument to say so.
    missing = {} if form["missing"] == "NA" else {"na_value": float("nan")}
    try:
        return pd.StringDtype(form["storage"], **missing)
    except ImportError:  # stored where pyarrow was, loaded where it is not: the same texts, held otherwise
        return pd.StringDtype("python", **missing)


def _masked(values: Any, mask: Any) -> Any:
    import pandas as pd  # needed by every frame

    kinds: dict[str, Any] = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}
    return kinds.get(values.dtype.kind, pd.arrays.IntegerArray)(values, mask)


def _frequency(index: Any) -> str | None:
    """The frequency of an index of times, in the words that pandas reads."""
    import pandas as pd  # imported already: the value is of it

    if not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) or index.freq is None:
        return None
    text = str(index.freqstr)
    try:
        said = pd.tseries.frequencies.to_offset(text)
    except ValueError:
        said = None
    if said != index.freq:
        raise Unfit  # such as a calendar of holidays
    return text


def _facts(value: Any, columns: list[Any]) -> dict[str, Any]:
    """What a person sees of it: size, columns with their statistics, the first rows. Never raises."""
    names = [value.name] if value.ndim == 1 else list(value.columns)
    described = [
        summary.Column(
            summary.attempt(lambda name=name: str(name), "?"),  # type: ignore[misc]
            str(column.dtype),
            lambda column=column: _statistics(column),  # type: ignore[misc]
        )
        for name, column in zip(names, columns, strict=True)
    ]

    def head() -> Any:
        return zip(*(column.iloc[: summary.ROWS].tolist() for column in columns), strict=True)

    index = summary.attempt(lambda: [summary.cell(one) for one in value.index[: summary.ROWS].tolist()], [])
    return summary.table(len(value), described, head) | {"index": index}


def _statistics(column: Any) -> dict[str, Any]:
    import pandas as pd  # imported already: the value is of it

    nulls = int(column.isna().sum())
    facts = {"count": len(column) - nulls, "nulls": nulls}
    kind = column.dtype
    if pd.api.types.is_numeric_dtype(kind):
        there = column.dropna() if nulls else column
        return facts | numbers(there.to_numpy(dtype=getattr(kind, "numpy_dtype", kind)))
    if facts["count"] and getattr(kind, "kind", "") in {"M", "m"}:
        return facts | {"min": column.min(), "max": column.max()}
    return facts
