"""`@step`: a function whose calls inside a pipeline are taken in by the composer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack, overload

from penstock.author.composer import Composer, composer
from penstock.author.declaration import Declaration, checked_name
from penstock.author.handle import Handle, check_handles
from penstock.errors import AuthoringError

if TYPE_CHECKING:
    from penstock.author.options import Options
    from penstock.author.returns import Returns
    from penstock.model.configuration import CachePolicy, Settings, StepConfiguration, StepRetryConfig
    from penstock.model.graph import Output

    Hook = Callable[..., Any] | str

_RESERVED = ("id", "after")


class StepOptions(TypedDict, total=False):
    """What can be said of a step. `StepConfiguration` says what each of them means."""

    enable_cache: bool | None
    cache_policy: CachePolicy | None
    retry: StepRetryConfig | Mapping[str, Any] | None
    timeout: float | None
    environment: Mapping[str, str]
    secrets: str | tuple[str, ...] | list[str]
    settings: Settings | Mapping[str, Any]
    extra: Mapping[str, Any]
    substitutions: Mapping[str, str]
    on_start: Hook | None
    on_success: Hook | None
    on_failure: Hook | None
    on_end: Hook | None


class Step(Declaration):
    """A step. Called alone, it is the function; called inside a pipeline, it gives handles of its results."""

    kind: ClassVar[str] = "step"
    _derived = ("configuration",)
    options: Options[StepConfiguration] | None

    def __init__(
        self, function: Callable[..., Any], name: str | None = None, given: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(function, name, given)
        for taken in _RESERVED:
            if taken in self.signature.names:
                raise AuthoringError(
                    f"Step {self.name} has an argument called '{taken}', which is what a pipeline calls a step with "
                    f"(`{self.name}(..., {taken}=...)`). Give the argument another name."
                )

    def __call__(
        self, *args: Any, id: str | None = None, after: str | Handle | list[Any] | tuple[Any, ...] = (), **kwargs: Any
    ) -> Any:
        """Inside a pipeline: one invocation, called `id`, which starts when all in `after` have ended too.

        `after` takes invocation ids and results of steps, one or a list of them. Outside of a pipeline this is a call
        of the function, in which `id` and `after` have nothing to say.
        """
        active = composer.get()
        if active is None:
            return self.function(*args, **kwargs)
        earlier = tuple(_flat(after))
        check_handles((args, kwargs, earlier), active)
        return active.submit(self, args, kwargs, id=id, after=earlier)

    def with_options(self, *, name: str | None = None, **given: Unpack[StepOptions]) -> Step:
        """The same step with these options over its own, and another name if one is given."""
        fresh = self._read(given)
        changes = {"options": fresh if self.options is None else fresh.over(self.options)}
        return self._copy(**changes, name=self.name if name is None else checked_name("a step", name))

    @cached_property
    def configuration(self) -> StepConfiguration:
        """What the code says of this step; functions stand in it by their names."""
        from penstock.model.configuration import StepConfiguration  # not needed to declare a step

        return StepConfiguration() if self.options is None else self.options.named

    def map(self, *args: Any, after: str | Handle | list[Any] | tuple[Any, ...] = (), **kwargs: Any) -> list[Any]:
        """One invocation for each item: arguments that are lists (or results of steps, which are waited for) are taken
        item by item, in step with each other; all others, and those in `unmapped(...)`, are the same each time.

        Returns what the calls return, in order. Raises `AuthoringError` if there is no list, or if lengths differ.
        """
        from penstock.author.mapping import rows  # only pipelines that map need it

        return [self(*one, after=after, **named) for one, named in rows(self, args, kwargs)]

    def product(self, *args: Any, after: str | Handle | list[Any] | tuple[Any, ...] = (), **kwargs: Any) -> list[Any]:
        """Like `map`, with one invocation for each combination of items; the last argument changes fastest."""
        from penstock.author.mapping import combinations  # only pipelines that map need it

        return [self(*one, after=after, **named) for one, named in combinations(self, args, kwargs)]

    def outputs(self) -> tuple[Output, ...]:
        """What the return annotation declares; empty for `-> None`. Raises `AuthoringError` for names given twice."""
        return self._returns.outputs

    def described_outputs(self) -> tuple[Output, ...]:
        """`outputs`, each with the JSON Schema of what a run's record holds of it."""
        from penstock.author.promise import described  # needed to freeze a step, not to carry it out

        return described(self._returns)

    def split(self, result: Any) -> dict[str, Any]:
        """What the function returned, by output name. Raises `AuthoringError` if it is not what the annotation says."""
        return self._returns.split(f"Step {self.name}", result)

    def handles(self, invocation: str, made_by: Composer) -> Handle | tuple[Handle, ...] | None:
        """What a call of this step gives inside a pipeline: a handle, several for `-> tuple[A, B]`, None for `-> None`."""
        handles = tuple(Handle(invocation, output.name, output.type, made_by) for output in self.outputs())
        if not handles:
            return None
        return handles if self._returns.several else handles[0]

    def annotation(self, name: str) -> Any:
        """The type that the argument `name` wants; None if it has no annotation, or one that cannot be resolved."""
        return self._annotations.get(name)

    def _read(self, given: Mapping[str, Any]) -> Options[StepConfiguration]:
        # Records and their reader, which a step of which nothing is said does not need.
        from penstock.author.options import options
        from penstock.model.configuration import StepConfiguration

        return options(StepConfiguration, f"step {self.name}", given)

    @cached_property
    def _returns(self) -> Returns:
        from penstock.author.returns import returns  # typing's machinery, not needed to declare a step

        return returns(self)

    @cached_property
    def _annotations(self) -> dict[str, Any]:
        from penstock.author.annotations import bare, hints  # typing's machinery, not needed to declare a step

        return {name: wanted for name, hint in hints(self.function).items() if (wanted := bare(hint)) is not Any}


def _flat(after: Any) -> list[str | Handle]:
    if isinstance(after, list | tuple):
        return [one for item in after for one in _flat(item)]
    if isinstance(after, str | Handle):
        return [after]
    hint = " A step annotated `-> None` returns None: name it by its invocation id instead." if after is None else ""
    raise AuthoringError(f"after={after!r}: expected an invocation id, the result of a step, or a list of these.{hint}")


@overload
def step(function: Callable[..., Any], /) -> Step: ...
@overload
def step(*, name: str | None = None, **options: Unpack[StepOptions]) -> Callable[[Callable[..., Any]], Step]: ...
def step(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Unpack[StepOptions]
) -> Step | Callable[[Callable[..., Any]], Step]:
    """Declare a step: `@step`, or `@step(name=..., retry=..., timeout=..., ...)`; see `StepOptions`.

    Raises `AuthoringError` for a function that cannot be one (arguments without a name, or called `id` or `after`), and for
    options that are unknown or make no sense.
    """
    if function is None:
        return lambda function: Step(function, name, options)
    return Step(function, name, options)
