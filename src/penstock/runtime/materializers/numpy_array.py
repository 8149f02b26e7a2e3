"""numpy arrays and scalars, as `.npy` without pickle."""

from __future__ import annotations

import io
from typing import Any

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
        return {"shape": list(array.shape), "dtype": str(array.dtype), "bytes": array.nbytes, "preview": first}

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
