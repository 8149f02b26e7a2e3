"""Pillow's images without loss: PNG where it keeps the mode, and the bare pixels where it does not."""

from __future__ import annotations

import io
from numbers import Rational
from typing import Any

from penstock.errors import ArtifactError
from penstock.runtime.materializers import summary
from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.structured import decoded, encoded

_PNG = "image.png"
_PIXELS = "image.raw"
_DESCRIPTION = "image.json"
PREVIEW = "preview.png"
"""The file that is shown; `image` in an artifact's metadata names it, or another file of it that is a picture already."""

SIDE = 256
"""Pixels that a preview has at most on each side."""

_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
"""What PNG keeps bit by bit. Of `I` it would write half of the bits."""


class PilImage(Materializer):
    """An `Image` with its mode, palette and `info`.

    One that was opened from a file comes back as a plain `Image` with the same content: the file is no part of it. Of an
    image with several frames only one could be kept, so it is refused.
    """

    name = "pil"

    def handles(self, kind: type) -> bool:
        """Whether it is Pillow's base class."""
        return kind.__module__ == "PIL.Image" and kind.__name__ == "Image"

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the image. Raises `ArtifactError` if it has several frames."""
        if type(value).__module__.partition(".")[0] != "PIL":
            raise Unfit  # somebody else's class, which may hold more
        frames = getattr(value, "n_frames", 1)
        if frames > 1:
            raise ArtifactError(
                f"it has {frames} frames, and one would be kept. For the frame that it shows now return `image.copy()`, for "
                "all of them the path of the file"
            )
        value.load()  # what was only opened has no palette yet, and not all of its `info`
        description = {"mode": value.mode, "size": value.size, "palette": _palette(value), "info": _info(value.info)}
        sink.write(_DESCRIPTION, encoded(description, _refuse))
        png = _png(value)
        if png is None:
            sink.write(_PIXELS, value.tobytes())
        else:
            sink.write(_PNG, png)
        shown = _PNG if png is not None and max(value.size) <= SIDE else None
        preview = summary.attempt(lambda: _preview(value), None) if shown is None else None
        if preview is not None:
            sink.write(PREVIEW, preview)
            shown = PREVIEW
        return {
            "width": value.width,
            "height": value.height,
            "mode": value.mode,
            "from": getattr(value, "format", None),
            "image": shown,
        }

    def load(self, files: Files, type_hint: Any) -> Any:
        """The image, in memory."""
        from PIL import Image  # only where there is an image to read

        described = decoded(files.read(_DESCRIPTION), _refuse)
        if _PNG in files.names:
            image = read_png(files, _PNG)
        else:
            image = Image.frombytes(described["mode"], described["size"], files.read(_PIXELS))
        if described["palette"] is not None:
            image.putpalette(*described["palette"])
        image.info = described["info"]
        return image


def read_png(files: Files, name: str) -> Any:
    """The picture in a file that is PNG, whatever it says: Pillow's many other readers are not tried."""
    from PIL import Image  # only where there is an image to read

    with Image.open(files.open(name), formats=["PNG"]) as opened:
        return opened.copy()


def _png(image: Any) -> bytes | None:
    """The pixels as PNG, None if it would not give them back."""
    from PIL import Image  # imported already: the value is of it

    pixels = image.width * image.height
    # Pillow reads no picture larger than its limit: it would take our own file for an attack.
    if image.mode not in _MODES or not pixels or pixels > (Image.MAX_IMAGE_PIXELS or pixels):
        return None
    bare = image.copy()
    bare.info = {}  # some of it would change the file
    buffer = io.BytesIO()
    bare.save(buffer, "PNG")
    if image.mode == "P":  # its pixels may be wider than its palette
        with Image.open(buffer) as back:
            if back.mode != "P" or back.tobytes() != image.tobytes():
                return None
    return buffer.getvalue()


def _preview(image: Any) -> bytes | None:
    """A small picture of it as PNG; None for one that has no pixels."""
    if not all(image.size):
        return None
    small = image.convert(
        "RGBA" if image.mode in {"LA", "PA", "La", "RGBa", "RGBA"} or "transparency" in image.info else "RGB"
    )
    small.thumbnail((SIDE, SIDE))
    small.info = {}
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()


def _palette(image: Any) -> tuple[bytes, str] | None:
    if image.palette is None or image.mode not in {"P", "PA"}:
        return None
    colours = bytes(image.getpalette(image.palette.mode))
    return (colours, image.palette.mode) if colours else None


def _info(info: Any) -> dict[Any, Any]:
    return {key: _plain(item) for key, item in info.items()}


def _plain(item: Any) -> Any:
    """What readers of files leave in `info` in classes of their own, as what it is: texts and fractions of an inch."""
    if type(item) is tuple:
        return tuple(map(_plain, item))
    if type(item).__module__.partition(".")[0] != "PIL":
        return item
    return str(item) if isinstance(item, str) else float(item) if isinstance(item, Rational) else item


def _refuse(_: Any) -> Any:
    """In the place of parts: what is no data is not kept inside `info`."""
    raise Unfit
