"""Bytes, as they are."""

from __future__ import annotations

from typing import Any

from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit

_FILE = "value.bin"
_SHOWN = 32


class Binary(Materializer):
    """`bytes` itself. A subclass is not kept as plain bytes."""

    name = "binary"

    def handles(self, kind: type) -> bool:
        """Whether it is `bytes`."""
        return kind is bytes

    def save(self, value: bytes, sink: Sink) -> dict[str, Any]:
        """Keep the bytes."""
        if type(value) is not bytes:
            raise Unfit
        sink.write(_FILE, value)
        return {"length": len(value), "preview": value[:_SHOWN].hex(" ") + ("…" if len(value) > _SHOWN else "")}

    def load(self, files: Files, type_hint: Any) -> bytes:
        """The bytes."""
        return files.read(_FILE)
