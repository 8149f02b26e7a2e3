"""The seam between a pipeline function and whoever carries it out: steps called inside go to the composer in force."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from penstock.author.handle import Handle
    from penstock.author.pipeline import Pipeline
    from penstock.author.step import Step


class Composer(Protocol):
    """Takes in step calls: one implementation records them (`tracing`), the other carries them out (the runtime)."""

    def submit(
        self,
        step: Step,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        id: str | None,
        after: tuple[str | Handle, ...],
    ) -> Handle | tuple[Handle, ...] | None:
        """Take in one call and return at once what `step.handles` makes for it.

        Every handle in the arguments and in `after` was made by this composer. `after` is flat and has no gaps.
        """

    def load(self, handle: Handle) -> Any:
        """The value behind `handle`, which this composer made. Waits for it if need be."""


enclosing: ContextVar[tuple[Pipeline, ...]] = ContextVar("enclosing", default=())
"""The pipelines that were called inside the one that runs, the innermost last: what each says holds for its steps."""

composer: ContextVar[Composer | None] = ContextVar("composer", default=None)
"""The composer in force. A step that is called while there is none is an ordinary function."""
