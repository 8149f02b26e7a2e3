"""numpy arrays and scalars, as `.npy` without pickle."""

from __future__ import annotations

import io
import math
from typing import Any

from penstock.runtime.materializers import summary
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.preview import plain

_ARRAY = "array.npy"
_SCALAR = "scalar.npy"
_SMALL = 1024 * 1024
_HEADER = 1024 * 1024
"""Bytes of header that are read. numpy's own limit is below what a record of many fields needs."""


class NumpyArray(Materializer):
    """`ndarray` (a memory map becomes an ordinary one) and numpy's scalars; not arrays of objects."""

    name = "numpy"

    def handles(self, kind: type) -> bool:
        """Whether it is an array or a scalar of numpy."""
        return kind.__module__.partition(".")[0] == "numpy" and kind.__name__ in {"ndarray", "generic"}

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the array; a big one is streamed."""
        import numpy as np  # imported already: the value is of it

        scalar = isinstance(value, np.generic)
        if not scalar and type(value) not in (np.ndarray, np.memmap):
            raise Unfit  # a matrix, a masked array: more than its numbers
        array = np.asarray(value)
        if not is_exact(array.dtype):
            raise Unfit
        write(sink, _SCALAR if scalar else _ARRAY, array)
        first = plain(array.flat[:10].tolist())
        facts = {"shape": list(array.shape), "dtype": str(array.dtype), "bytes": array.nbytes, "preview": first}
        return facts | ({} if scalar else numbers(array))

    def load(self, files: Files, type_hint: Any) -> Any:
        """The array, in memory and writable."""
        if _SCALAR in files.names:
            return read(files, _SCALAR)[()]
        return read(files, _ARRAY)


def is_exact(dtype: Any) -> bool:
    """Whether an `.npy` file keeps this dtype: none with Python objects inside, none that another package defines."""
    from numpy.lib.format import descr_to_dtype, dtype_to_descr  # imported already: the dtype is of it

    if dtype.hasobject or dtype.isbuiltin == 2 or dtype.metadata:
        return False
    return bool(descr_to_dtype(dtype_to_descr(dtype)) == dtype)


def numbers(array: Any) -> dict[str, Any]:
    """Extent, mean and histogram of an array of real numbers; nothing for others. Never raises."""
    import numpy as np  # imported already: the array is of it

    if array.dtype.kind not in "iuf" or not array.size:
        return {}
    with np.errstate(all="ignore"):
        found: dict[str, Any] = summary.attempt(lambda: _numbers(array.ravel(order="K")), {})
    return found


def _numbers(values: Any) -> dict[str, Any]:
    import numpy as np  # imported already: the array is of it

    facts: dict[str, Any] = {}
    values = values.astype(np.float64) if values.dtype.itemsize > 8 else values  # no JSON has a long double
    mean = float(values.mean(dtype=np.float64))
    if not math.isfinite(mean):  # one look for what is seldom there
        finite = np.isfinite(values)
        facts["not_finite"] = int(values.size - finite.sum())
        values = values[finite]
        if not values.size:
            return facts
        mean = float(values.mean(dtype=np.float64))
    facts |= {"min": values.min().item(), "max": values.max().item(), "mean": mean}
    low, every = float(facts["min"]), summary.stride(values.size)
    per_unit = summary.scale(low, float(facts["max"]))
    if per_unit is None:
        return facts
    bins = ((values[::every].astype(np.float64) - low) * per_unit).clip(0, summary.BINS - 1).astype(np.int8)
    counts = np.bincount(bins, minlength=summary.BINS).tolist()
    return facts | summary.histogram(dict(enumerate(counts)), every)


def write(sink: Sink, name: str, array: Any) -> None:
    """Keep an array whose dtype `is_exact`."""
    from numpy.lib.format import write_array  # imported already: the array is of it

    if array.nbytes <= _SMALL:
        buffer = io.BytesIO()
        write_array(buffer, array, allow_pickle=False)
        sink.write(name, buffer.getvalue())
    else:
        with sink.path(name).open("wb") as file:
            write_array(file, array, allow_pickle=False)


def read(files: Files, name: str) -> Any:
    """The array in this file."""
    from numpy.lib.format import read_array  # only where there is an array to read

    return read_array(files.open(name), allow_pickle=False, max_header_size=_HEADER)
