"""The one call that goes up: a pipeline that a person calls, outside any run, is handed to the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from penstock.errors import AuthoringError

if TYPE_CHECKING:
    from penstock.author.pipeline import Pipeline
    from penstock.model.run import Run

_imported: ContextVar[str | None] = ContextVar("imported", default=None)


@contextmanager
def importing(source: str) -> Iterator[None]:
    """While the module of `source` is imported for a run, no pipeline can be run by it."""
    token = _imported.set(source)
    try:
        yield
    finally:
        _imported.reset(token)


def run_here(pipeline: Pipeline, arguments: dict[str, Any]) -> Run:
    """Run `pipeline` in this process and return the ended run.

    Raises `AuthoringError` inside `importing`: that call would start a run, which would import the module, which would
    call it again.
    """
    __tracebackhide__ = True  # IPython and pytest leave out frames that say so
    source = _imported.get()
    if source is not None:
        raise AuthoringError(
            f"Importing '{source}' called pipeline {pipeline.name}. Put the call under `if __name__ == \"__main__\":`."
        )
    from penstock.runtime.direct import run  # the floor above, and all it takes to run: loaded when something runs

    return run(pipeline, arguments)
