"""What a step may return to be looked at: text that says how to show it."""

from __future__ import annotations


class HTML(str):
    """A page or a piece of one. It is a `str` in every respect; a notebook shows it rendered.

    Penstock never renders it in its own pages: whatever scripts it holds run only where somebody opens it.
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


class Markdown(str):
    """Text in Markdown. It is a `str` in every respect; a notebook shows it rendered."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)
