"""What annotations say: resolved where possible, `Any` where not, and as text that a person would write."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable
from types import FunctionType, NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, ForwardRef, Literal, Union, get_args, get_origin, get_type_hints

from penstock.author.signature import plain


class _Unresolved(type):
    """Stands for a type whose name is not there at run time, such as an import under `if TYPE_CHECKING`.

    It takes attributes and subscripts like a module or a generic type, so that the rest of the annotation can be read:
    `tuple[pandas.DataFrame, int]` still means two values.
    """

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _unresolved(f"{cls.__name__}.{name}")

    def __getitem__(cls, _: object) -> type:
        return cls


def _unresolved(name: str) -> type:
    return _Unresolved(name, (), {"__module__": "builtins"})  # named as it was written


class _Names(dict[str, Any]):
    """The names that an annotation may use: closure, module, builtins, and a stand-in for everything else."""

    def __init__(self, function: FunctionType) -> None:
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
        super().__init__({name: cell.cell_contents for name, cell in cells if _filled(cell)})
        self._function = function

    def __missing__(self, name: str) -> Any:
        for names in (self._function.__globals__, vars(builtins)):
            if name in names:
                return names[name]
        return _unresolved(name)


def _filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # the enclosing function has not assigned it yet
        return False
    return True


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of `function` as types, `Annotated` kept; one that makes no sense is `Any`. Never raises."""
    inner = plain(function)
    if inner is None:
        return {}
    names, found = _Names(inner), {}
    for name, annotation in inner.__annotations__.items():
        alone = SimpleNamespace(__annotations__={name: annotation})  # one by one: a bad one must not spoil the others
        try:
            found[name] = get_type_hints(alone, inner.__globals__, names, include_extras=True)[name]
        except Exception:  # noqa: BLE001 - an annotation is any expression: evaluating it may raise anything
            found[name] = Any
    return found


def resolved(annotation: Any) -> bool:
    """Whether every name in `annotation` was found."""
    if isinstance(annotation, _Unresolved | ForwardRef | str):
        return False
    if get_origin(annotation) is Literal:
        return True
    return all(resolved(part) for part in _parts(annotation))


def _parts(annotation: Any) -> Iterable[Any]:
    if get_origin(annotation) is Annotated:
        return (annotation.__origin__,)
    arguments = get_args(annotation)
    return [part for one in arguments for part in (one if isinstance(one, list) else [one])]


def bare(annotation: Any) -> Any:
    """`annotation` without `Annotated`; `Any` if it is not fully resolved."""
    while get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    return annotation if resolved(annotation) else Any


def type_text(annotation: Any) -> str:
    """The annotation as a person would write it: `pandas.DataFrame`, `dict[str, float]`, `int | None`."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(annotation.__origin__)
    if origin is Union or origin is UnionType:
        return " | ".join(map(type_text, parts))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, parts))}]"
    if origin is not None:
        return f"{type_text(origin)}[{', '.join(map(type_text, parts))}]"
    return _name_text(annotation)


def _name_text(annotation: Any) -> str:
    """An annotation without parts, or one of the odd things that may stand inside others."""
    if isinstance(annotation, list):  # the arguments in Callable[[int, str], None]
        return f"[{', '.join(map(type_text, annotation))}]"
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    for special, text in ((Any, "Any"), (NoneType, "None"), (None, "None"), (Ellipsis, "...")):
        if annotation is special:
            return text
    return class_text(annotation) if isinstance(annotation, type) else str(annotation).removeprefix("typing.")


def class_text(kind: type) -> str:
    """`module.Class` by the shortest path that leads to it: `pandas.DataFrame`, not `pandas.core.frame.DataFrame`."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    parts = kind.__module__.split(".")
    for length in range(1, len(parts)):
        shorter = ".".join(parts[:length])
        if vars(sys.modules.get(shorter, builtins)).get(kind.__qualname__) is kind:
            return f"{shorter}.{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"
