"""`@pipeline`: a function that calls steps, and can be frozen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, overload

from penstock.author.composer import composer
from penstock.author.declaration import Declaration
from penstock.author.direct import run_here
from penstock.errors import AuthoringError

if TYPE_CHECKING:
    from penstock.author.freeze import Frozen
    from penstock.model.snapshot import Snapshot
    from penstock.model.template import Template


class Pipeline(Declaration):
    """A pipeline. Calling it is one run; nothing of a run is kept here, so any number of threads may call it at once."""

    kind: ClassVar[str] = "pipeline"

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        super().__init__(function, name)
        if self.signature.open:
            raise AuthoringError(
                f"Pipeline {self.name} takes `**keywords`. Its signature is what callers see: write each parameter out."
            )

    @property
    def description(self) -> str | None:
        """The first paragraph of the docstring."""
        text = (self.function.__doc__ or "").strip()
        lines = (line.strip() for line in text.split("\n\n", 1)[0].splitlines())
        return " ".join(lines) or None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the pipeline here and return the ended `Run`; inside another pipeline, be a part of it.

        There the steps belong to the outer pipeline, and the result is what the function returns. What user code
        raises is raised again.
        """
        __tracebackhide__ = True  # IPython and pytest leave out frames that say so
        if composer.get() is not None:
            return self.function(*args, **kwargs)
        return run_here(self, self.bind(args, kwargs))

    def outputs(self, returned: Any) -> dict[str, Any]:
        """What the function returned, by output name; the same names whether it was traced or carried out."""
        from penstock.author.results import named  # not needed to declare a pipeline

        return named(returned)

    def create_snapshot(self, name: str | None = None, description: str | None = None) -> Snapshot:
        """Freeze this pipeline and store it under `name`. The same code and signature give the same snapshot.

        Raises `AuthoringError` if it cannot be frozen. A pipeline without a file (a notebook) gives a snapshot that is a
        record only: a warning and `content.code_note` say why it cannot run, and what to do.
        """
        frozen = self._freeze(description)
        if frozen.archive is None:
            note = f"The snapshot of pipeline {self.name} is a record that nobody can run. {frozen.content.code_note}"
            warnings.warn(note, stacklevel=2)
        return self._store(frozen, name)

    def create_run_template(self, name: str, description: str | None = None, tags: Iterable[str] = ()) -> Template:
        """Freeze this pipeline and publish it as the next version of the run template `name`.

        Publishing the same thing again changes nothing. Raises `AuthoringError` if the code cannot be archived, since
        nobody could run the template.
        """
        frozen = self._freeze(None)
        if frozen.archive is None:
            raise AuthoringError(f"Pipeline {self.name} cannot become a run template. {frozen.content.code_note}")
        snapshot = self._store(frozen, None)
        from penstock.client.client import Client  # the HTTP client, which declaring a pipeline must not load

        return Client().templates.create(name, snapshot_id=snapshot.id, description=description, tags=tuple(tags))

    def _freeze(self, description: str | None) -> Frozen:
        # Tracing, schemas and archives, which declaring a pipeline must not load.
        from penstock.author.freeze import freeze

        return freeze(self, description=description)

    def _store(self, frozen: Frozen, name: str | None) -> Snapshot:
        from penstock.client.client import Client  # the HTTP client, which declaring a pipeline must not load

        archive = frozen.archive.tar if frozen.archive is not None else None
        return Client().snapshots.create(frozen.content, name=name, archive=archive)


@overload
def pipeline(function: Callable[..., Any], /) -> Pipeline: ...
@overload
def pipeline(*, name: str | None = None) -> Callable[[Callable[..., Any]], Pipeline]: ...
def pipeline(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None
) -> Pipeline | Callable[[Callable[..., Any]], Pipeline]:
    """Declare a pipeline: `@pipeline`, or `@pipeline(name=...)` for a name other than the function's.

    Raises `AuthoringError` for a function whose parameters callers could not name.
    """
    if function is None:
        return lambda function: Pipeline(function, name)
    return Pipeline(function, name)
