"""Strings, as UTF-8 without a byte changed."""

from __future__ import annotations

from typing import Any

from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.preview import shortened

_FILE = "value.txt"


class Text(Materializer):
    """`str` itself. A subclass is not kept as a plain string."""

    name = "text"

    def handles(self, kind: type) -> bool:
        """Whether it is `str`."""
        return kind is str

    def save(self, value: str, sink: Sink) -> dict[str, Any]:
        """Keep the text; one that is no valid Unicode (lone surrogates) is for somebody else."""
        if type(value) is not str:
            raise Unfit
        try:
            data = value.encode()
        except UnicodeEncodeError:
            raise Unfit from None
        sink.write(_FILE, data)
        return {"length": len(value), "preview": shortened(value)}

    def load(self, files: Files, type_hint: Any) -> str:
        """The text."""
        return files.read(_FILE).decode()
