"""What a step gives back: its return annotation as named outputs, and the returned value taken apart by them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from penstock.author.annotations import bare, hints, type_text
from penstock.author.declaration import checked_name
from penstock.errors import AuthoringError
from penstock.model.graph import ArtifactConfig, Output

if TYPE_CHECKING:
    from penstock.author.step import Step


@dataclass(frozen=True)
class Returns:
    """The outputs of a step. `several`: the function returns a tuple with one value for each."""

    outputs: tuple[Output, ...]
    several: bool = False
    annotations: tuple[Any, ...] = ()
    """The type of each output, without what it is annotated with."""

    def split(self, what: str, result: Any) -> dict[str, Any]:
        """`result` by output name. Raises `AuthoringError` (about `what`) if it is not what was declared."""
        names = [output.name for output in self.outputs]
        if not names:
            if result is not None:
                raise AuthoringError(
                    f"{what} is annotated `-> None` but returned a value ({type_text(type(result))}). "
                    "Annotate what it returns, or return nothing."
                )
            return {}
        if not self.several:
            return {names[0]: result}
        if not isinstance(result, tuple | list) or len(result) != len(names):
            got = f"{len(result)} values" if isinstance(result, tuple | list) else type_text(type(result))
            raise AuthoringError(f"{what} is annotated to return {len(names)} values ({', '.join(names)}); got {got}.")
        return dict(zip(names, result, strict=True))


def returns(step: Step) -> Returns:
    """Read the return annotation of `step`.

    `-> T`: one output named `output`. `-> tuple[A, B]`: `output_0`, `output_1`. `Annotated[T, "name"]` names an output,
    inside a tuple too, and keeps its artifacts under that name; so does `Annotated[T, ArtifactConfig(name=...)]`. `-> None`: no
    output. No annotation: one output of any type. A function that yields has one output, its items.
    """
    found = hints(step.function)
    annotation = found.get("return", Any)
    if step.signature.yields:
        return Returns((_output(step, annotation, "output"),), annotations=(annotation,))
    if annotation is NoneType:
        return Returns(())
    parts = get_args(annotation) if get_origin(annotation) is tuple else ()
    several = bool(parts) and Ellipsis not in parts
    annotations = parts if several else (annotation,)
    if several:
        outputs = tuple(_output(step, part, f"output_{index}") for index, part in enumerate(parts))
    else:
        outputs = (_output(step, annotation, "output"),)
    names = [output.name for output in outputs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise AuthoringError(f"Step {step.name} has several outputs named '{doubled[0]}'. Give each its own name.")
    return Returns(outputs, several, tuple(bare(one) for one in annotations))


def _output(step: Step, annotation: Any, name: str) -> Output:
    kept = None
    if get_origin(annotation) is Annotated:
        notes = annotation.__metadata__
        kept = next((note for note in notes if isinstance(note, ArtifactConfig)), None)
        named = next((note for note in notes if isinstance(note, str)), kept.name if kept else None)
        if named is not None and "{" not in named:
            name = named
        if named is not None:
            kept = replace(kept or ArtifactConfig(), name=named)
    return Output(name=checked_name(f"an output of step {step.name}", name), type=type_text(annotation), artifact=kept)
