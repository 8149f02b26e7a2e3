"""Penstock: freeze a machine-learning pipeline once, and let anything pull the gate.

Names load when they are first used: `import penstock` costs nothing, whichever part of it a process needs.
"""

from __future__ import annotations

from penstock.version import VERSION as __version__

TYPE_CHECKING = False  # what type checkers know as true; importing `typing` for it would cost more than all of this
if TYPE_CHECKING:
    from penstock.author.pipeline import pipeline
    from penstock.author.step import step
    from penstock.client.client import Client
    from penstock.model.run import Run
    from penstock.values import HTML, Markdown

__all__ = ["HTML", "Client", "Markdown", "Run", "__version__", "pipeline", "step"]

_HOMES = {
    "Client": "penstock.client.client",
    "HTML": "penstock.values",
    "Markdown": "penstock.values",
    "Run": "penstock.model.run",
    "pipeline": "penstock.author.pipeline",
    "step": "penstock.author.step",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'penstock' has no attribute '{name}'")
    from importlib import import_module  # the lazy public face: nothing is imported before it is asked for

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
