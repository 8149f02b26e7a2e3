"""matplotlib's figures, as the pictures that they are: PNG, and SVG beside it.

A figure holds callbacks, artists of any class and a canvas of the process that made it: only pickle could rebuild it, and
only under the same version. What a pipeline wants of a figure is to be seen. So it is drawn when it is saved, and loading
it gives the picture, as Pillow's `Image`, without any code of the file being run.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from penstock.errors import ArtifactError
from penstock.runtime.materializers import summary
from penstock.runtime.materializers.base import Files, Materializer, Sink
from penstock.runtime.materializers.pil_image import read_png

_PNG = "figure.png"
_SVG = "figure.svg"
_SVG_LIMIT = 2 * 1024 * 1024
_salting = threading.Lock()


class MatplotlibFigure(Materializer):
    """`Figure` and what is built on it."""

    name = "matplotlib"

    def handles(self, kind: type) -> bool:
        """Whether it is matplotlib's base class."""
        return kind.__module__ == "matplotlib.figure" and kind.__name__ == "Figure"

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Draw the figure, as its own settings and the user's `rcParams` say. An SVG of more than 2 MB is left out."""
        picture = io.BytesIO()
        value.savefig(picture, format="png", metadata={"Software": None})  # the same figure, the same bytes
        sink.write(_PNG, picture.getvalue())
        drawing = summary.attempt(lambda: _drawing(value), None)
        if drawing is not None:
            sink.write(_SVG, drawing)
        return {
            "size": summary.attempt(lambda: [float(inches) for inches in value.get_size_inches()], None),
            "dpi": summary.attempt(lambda: float(value.dpi), None),
            "title": summary.attempt(value.get_suptitle, None),
            "axes": summary.attempt(lambda: [_described(axes) for axes in value.axes], []),
            "svg": drawing is not None,
            "image": _PNG,
        }

    def load(self, files: Files, type_hint: Any) -> Any:
        """The picture, as Pillow's `Image`. Raises `ArtifactError` if a figure is asked for."""
        if isinstance(type_hint, type) and any(map(self.handles, type_hint.__mro__)):
            raise ArtifactError(
                "a matplotlib figure is kept as a picture and comes back as a `PIL.Image.Image`: annotate the parameter so, or "
                "pass the data on and draw where the figure is needed"
            )
        return read_png(files, _PNG)


class _Bounded(io.BytesIO):
    """Refuses to grow beyond the limit, so that a drawing of a million points is given up early."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > _SVG_LIMIT:
            raise ValueError("the drawing is too large")
        return super().write(data)


def _drawing(figure: Any) -> bytes:
    file = _Bounded()
    with _salted():
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


@contextmanager
def _salted() -> Iterator[None]:
    """Names inside an SVG are random unless there is a salt; the same figure shall have the same digest.

    Not `rc_context`: it would take back what other threads set meanwhile.
    """
    import matplotlib as mpl  # imported already: the value is of it

    with _salting:
        before = mpl.rcParams["svg.hashsalt"]
        mpl.rcParams["svg.hashsalt"] = before or "penstock"
        try:
            yield
        finally:
            mpl.rcParams["svg.hashsalt"] = before


def _described(axes: Any) -> dict[str, str]:
    return {"title": axes.get_title(), "x": axes.get_xlabel(), "y": axes.get_ylabel()}
