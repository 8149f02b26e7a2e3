"""`@pipeline`: a function that calls steps, and can be frozen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack, overload

from penstock.author.composer import composer, enclosing
from penstock.author.declaration import Declaration
from penstock.author.direct import run_here
from penstock.errors import AuthoringError

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.author.freeze import Frozen
    from penstock.author.options import Options
    from penstock.author.step import Hook
    from penstock.client.deployments import DeploymentOptions
    from penstock.model.configuration import (
        CachePolicy,
        ExecutionMode,
        PipelineRunConfiguration,
        Settings,
        StepConfiguration,
        StepRetryConfig,
    )
    from penstock.model.deployment import NewDeployment
    from penstock.model.snapshot import Snapshot
    from penstock.model.template import Template


class PipelineOptions(TypedDict, total=False):
    """What can be said of a pipeline. `PipelineRunConfiguration` says what each of them means; the first two are frozen with
    the code, and no run may say otherwise: the packages that must be installed (or a file that names them), and the versions
    of Python that will do.
    """

    requirements: str | Path | Iterable[str] | None
    python: str | None
    tags: str | Iterable[str]
    enable_cache: bool | None
    cache_policy: CachePolicy | None
    retry: StepRetryConfig | Mapping[str, Any] | None
    timeout: float | None
    execution_mode: ExecutionMode | None
    environment: Mapping[str, str]
    secrets: str | tuple[str, ...] | list[str]
    settings: Settings | Mapping[str, Any]
    extra: Mapping[str, Any]
    substitutions: Mapping[str, str]
    on_init: Hook | None
    on_init_kwargs: Mapping[str, Any]
    on_cleanup: Hook | None
    on_start: Hook | None
    on_success: Hook | None
    on_failure: Hook | None
    on_end: Hook | None


class RunOptions(PipelineOptions, total=False):
    """What can be said of the runs of a pipeline besides: all that a run configuration has."""

    run_name: str | None
    parameters: Mapping[str, Any]
    steps: Mapping[str, StepConfiguration | Mapping[str, Any]]


class Pipeline(Declaration):
    """A pipeline. Calling it is one run; nothing of a run is kept here, so any number of threads may call it at once."""

    kind: ClassVar[str] = "pipeline"
    _derived = ("configuration", "run_configuration")
    options: Options[PipelineRunConfiguration] | None
    given: Options[PipelineRunConfiguration] | None
    """What `with_options` said."""

    requirements: str | Path | Iterable[str] | None
    """Packages that must be installed where it runs, or the file that names them, as it was said; read when it is frozen."""

    python: str | None
    """Versions of Python that will do."""

    def __init__(
        self, function: Callable[..., Any], name: str | None = None, given: Mapping[str, Any] | None = None
    ) -> None:
        needs, options = _apart(given or {})
        super().__init__(function, name, options)
        self.__dict__.update({"given": None, "requirements": None, "python": None} | needs)
        if self.signature.asynchronous or self.signature.yields:
            raise AuthoringError(
                f"Pipeline {self.name} is an `async def` or uses `yield`. Write a plain `def` that calls steps and returns their "
                "results: it waits for nobody, and its steps may be `async def`, yield, and run at the same time."
            )
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

    @cached_property
    def configuration(self) -> PipelineRunConfiguration:
        """What the decorator says; functions stand in it by their names."""
        return self._named(self.options)

    @cached_property
    def run_configuration(self) -> PipelineRunConfiguration:
        """What `with_options` says of every run of this pipeline: it goes before all that the code says."""
        return self._named(self.given)

    def with_options(self, *, config_path: Path | str | None = None, **given: Unpack[RunOptions]) -> Pipeline:
        """The same pipeline under a run configuration: options, and a YAML or JSON file with the same names.

        It goes before what the decorators of the pipeline and of its steps say, is frozen into snapshots, and is itself
        overridden by what a single run is given. Raises `AuthoringError` or `InvalidInput` for names and values that are
        not right. An option goes before the file.
        """
        from penstock.author.options import file_options  # what a pipeline without options does not need

        needs, options = _apart(given)
        fresh = self._read(options)
        if config_path is not None:
            fresh = fresh.over(file_options(config_path))
        return self._copy(given=fresh if self.given is None else fresh.over(self.given), **needs)

    def function_named(self, name: str) -> Callable[..., Any] | None:
        """The function that an option of this pipeline was given and that is called `name`."""
        layers = [one for one in (self.given, self.options) if one is not None]
        return next((found for one in layers if (found := one.function(name)) is not None), None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the pipeline here and return the ended `Run`; inside another pipeline, be a part of it.

        There the steps belong to the outer pipeline, and the result is what the function returns. What user code
        raises is raised again.
        """
        __tracebackhide__ = True  # IPython and pytest leave out frames that say so
        if composer.get() is not None:
            token = enclosing.set((*enclosing.get(), self))
            try:
                return self.function(*args, **kwargs)
            finally:
                enclosing.reset(token)
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

    def deploy(
        self, deployment_name: str, timeout: float | None = 600.0, **options: Unpack[DeploymentOptions]
    ) -> NewDeployment:
        """Freeze this pipeline and keep it warm behind HTTP; returns when it serves, or at once with `timeout=None`.

        `with_options(parameters=...)` before it gives requests their defaults. With `update=True` a deployment of this name
        may be there: it goes on serving until the new revision is ready. Raises `AuthoringError` if the code cannot be
        archived, and `Conflict` for a service that does not come up.
        """
        frozen = self._freeze(None)
        if frozen.archive is None:
            raise AuthoringError(f"Pipeline {self.name} cannot be deployed. {frozen.content.code_note}")
        snapshot = self._store(frozen, None)
        from penstock.client.client import Client  # the HTTP client, which declaring a pipeline must not load

        deployments = Client().deployments
        made = deployments.create(deployment_name, snapshot=snapshot.id, **options)
        if timeout is None:
            return made
        return type(made)(deployment=deployments.wait(made.deployment.id, timeout), key=made.key)

    def write_run_configuration_template(self, path: Path | str, *, force: bool = False) -> None:
        """Write a commented YAML file with everything that can be said of a run of this pipeline, ready to edit.

        `with_options(config_path=...)` and every trigger read it. Raises `AuthoringError` if the file is there already,
        unless `force`.
        """
        from pathlib import Path  # not needed to declare a pipeline

        from penstock.author.sheet import sheet  # as above

        target = Path(path)
        text = sheet(self._freeze(None).content)
        try:
            with target.open("w" if force else "x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise AuthoringError(f"{target} is there already. Name another file, or say force=True.") from None
        except OSError as error:
            raise AuthoringError(f"{target} cannot be written: {error.strerror}.") from error

    def _read(self, given: Mapping[str, Any]) -> Options[PipelineRunConfiguration]:
        # Records and their reader, which a pipeline of which nothing is said does not need.
        from penstock.author.options import options
        from penstock.model.configuration import PipelineRunConfiguration

        return options(PipelineRunConfiguration, f"pipeline {self.name}", given)

    @staticmethod
    def _named(layer: Options[PipelineRunConfiguration] | None) -> PipelineRunConfiguration:
        from penstock.model.configuration import PipelineRunConfiguration  # see `_read`

        return PipelineRunConfiguration() if layer is None else layer.named

    def _freeze(self, description: str | None) -> Frozen:
        # Tracing, schemas and archives, which declaring a pipeline must not load.
        from penstock.author.freeze import freeze

        return freeze(self, description=description)

    def _store(self, frozen: Frozen, name: str | None) -> Snapshot:
        from penstock.client.client import Client  # the HTTP client, which declaring a pipeline must not load

        archive = frozen.archive.tar if frozen.archive is not None else None
        return Client().snapshots.create(frozen.content, name=name, archive=archive)


def _apart(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of the environment, and of the runs."""
    needs = {name: given[name] for name in ("requirements", "python") if given.get(name) is not None}
    return needs, {name: value for name, value in given.items() if name not in ("requirements", "python")}


@overload
def pipeline(function: Callable[..., Any], /) -> Pipeline: ...
@overload
def pipeline(
    *, name: str | None = None, **options: Unpack[PipelineOptions]
) -> Callable[[Callable[..., Any]], Pipeline]: ...
def pipeline(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Unpack[PipelineOptions]
) -> Pipeline | Callable[[Callable[..., Any]], Pipeline]:
    """Declare a pipeline: `@pipeline`, or `@pipeline(name=..., retry=..., on_failure=..., ...)`; see `PipelineOptions`.

    Raises `AuthoringError` for a function whose parameters callers could not name, and for options that are unknown or make
    no sense.
    """
    if function is None:
        return lambda function: Pipeline(function, name, options)
    return Pipeline(function, name, options)
