"""Texts to be looked at: `penstock.HTML` and `penstock.Markdown`, as files that a browser or an editor opens."""

from __future__ import annotations

from typing import Any

from penstock.runtime.materializers.base import Files, Materializer, Sink, Unfit
from penstock.runtime.materializers.preview import shortened
from penstock.values import HTML, Markdown

_FILES: dict[str, type[HTML | Markdown]] = {"value.html": HTML, "value.md": Markdown}


class Markup(Materializer):
    """The two classes themselves."""

    name = "markup"

    def handles(self, kind: type) -> bool:
        """Whether it is one of the two."""
        return kind in (HTML, Markdown)

    def save(self, value: HTML | Markdown, sink: Sink) -> dict[str, Any]:
        """Keep the text; one that is no valid Unicode (lone surrogates) is for somebody else."""
        name = next((name for name, kind in _FILES.items() if type(value) is kind), None)
        if name is None:
            raise Unfit
        try:
            data = value.encode()
        except UnicodeEncodeError:
            raise Unfit from None
        sink.write(name, data)
        return {"length": len(value), "preview": shortened(str(value))}

    def load(self, files: Files, type_hint: Any) -> HTML | Markdown:
        """The text."""
        (name,) = files.names
        return _FILES[name](files.read(name).decode())
