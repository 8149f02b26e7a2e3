"""plotly's figures, as the JSON that plotly itself draws them from.

It is what a browser needs, and loading it runs no code. It says what is drawn and no more: a NaN becomes a gap (None), a
date a text. Arrays of numbers come back as arrays.
"""

from __future__ import annotations

import base64
from math import prod
from typing import Any

import msgspec

from penstock.runtime.materializers import summary
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit

_FILE = "figure.json"
_ARRAY = frozenset({"dtype", "bdata"})


class PlotlyFigure(Materializer):
    """`Figure` itself. A `FigureWidget` has callbacks, and is left to pickle."""

    name = "plotly"

    def handles(self, kind: type) -> bool:
        """Whether it is plotly's figure."""
        return kind.__module__ == "plotly.graph_objs._figure" and kind.__name__ == "Figure"

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the figure with its data, layout and frames."""
        import plotly.graph_objects as go  # imported already: the value is of it

        if type(value) is not go.Figure:
            raise Unfit
        # One engine, whatever else is installed: the same figure, the same bytes.
        sink.write(_FILE, value.to_json(remove_uids=False, engine="json").encode())
        traces = summary.attempt(lambda: [trace.type for trace in value.data], [])
        return {
            "title": summary.attempt(lambda: value.layout.title.text, None),
            "trace_count": len(traces),
            "traces": traces,
            "frames": summary.attempt(lambda: len(value.frames), 0),
        }

    def load(self, files: Files, type_hint: Any) -> Any:
        """The figure."""
        import plotly.graph_objects as go  # only where there is a figure to read

        return go.Figure(_with_arrays(msgspec.json.decode(files.read(_FILE))))


def _with_arrays(value: Any) -> Any:
    """JSON with plotly's arrays in it, as arrays: in a figure they would stay text, which no code can calculate with."""
    if type(value) is list:
        return [_with_arrays(item) for item in value]
    if type(value) is not dict:
        return value
    if not value.keys() >= _ARRAY:
        return {key: _with_arrays(item) for key, item in value.items()}
    import numpy as np  # only where there is an array to read

    array = np.frombuffer(base64.b64decode(value["bdata"]), np.dtype(value["dtype"]))
    shape = tuple(int(length) for length in str(value.get("shape", array.size)).split(","))
    return (array.reshape(shape) if prod(shape) == array.size else array).copy()
