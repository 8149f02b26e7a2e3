"""`@step`: a function whose calls inside a pipeline are taken in by the composer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, overload

from penstock.author.composer import Composer, composer
from penstock.author.declaration import Declaration
from penstock.author.handle import Handle, check_handles
from penstock.errors import AuthoringError

if TYPE_CHECKING:
    from penstock.author.returns import Returns
    from penstock.model.graph import Output

_RESERVED = ("id", "after")


class Step(Declaration):
    """A step. Called alone, it is the function; called inside a pipeline, it gives handles of its results."""

    kind: ClassVar[str] = "step"

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        super().__init__(function, name)
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

    def outputs(self) -> tuple[Output, ...]:
        """What the return annotation declares; empty for `-> None`. Raises `AuthoringError` for names given twice."""
        return self._returns.outputs

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
def step(*, name: str | None = None) -> Callable[[Callable[..., Any]], Step]: ...
def step(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None
) -> Step | Callable[[Callable[..., Any]], Step]:
    """Declare a step: `@step`, or `@step(name=...)` for a name other than the function's.

    Raises `AuthoringError` for a function that cannot be one: arguments without a name, or called `id` or `after`.
    """
    if function is None:
        return lambda function: Step(function, name)
    return Step(function, name)
