"""A marker: stands for a parameter while a pipeline is traced, and notices when somebody wants to know its value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


class ShapeDecided(BaseException):
    """The pipeline function looked at a value that only a run has: what it does next depends on it.

    No `Exception`, so that a `try` in the function does not take it for a failure of its own.
    """


class PipelineParameter:
    """The value of a pipeline parameter, to come. It may be passed on; whatever else is done to it calls `noticed`.

    Read it with `name_of`, and tell it by its exact type: `isinstance` would already be noticed. `is` and patterns of
    `match` cannot be noticed; `unseen` finds those in the source.
    """

    __slots__ = ("_name", "_noticed")

    def __init__(self, name: str, noticed: Callable[[str], NoReturn]) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_noticed", noticed)


def name_of(marker: PipelineParameter) -> str:
    """The name of the parameter that `marker` stands for."""
    name: str = object.__getattribute__(marker, "_name")
    return name


_CONTAINER = "bool len length_hint iter next reversed contains getitem setitem delitem"
_COMPARISON = "hash eq ne lt le gt ge"
_CONVERSION = "int float complex index round trunc floor ceil str repr format bytes fspath array"
_ATTRIBUTES = "getattribute setattr delattr dir sizeof reduce reduce_ex getstate copy deepcopy"
_USE = "call enter exit aenter aexit await aiter anext array_ufunc array_function"
_ONE_SIDED = "neg pos abs invert"
_TWO_SIDED = "add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift"
NOTICED = tuple(
    f"__{name}__"
    for name in f"{_CONTAINER} {_COMPARISON} {_CONVERSION} {_ATTRIBUTES} {_USE} {_ONE_SIDED}".split()
    + [side + name for name in _TWO_SIDED.split() for side in ("", "r", "i")]
)
"""Every special method through which code can learn something about a value."""


def _notice(marker: PipelineParameter, *_: object, **__: object) -> Any:
    object.__getattribute__(marker, "_noticed")(name_of(marker))


for _name in NOTICED:
    setattr(PipelineParameter, _name, _notice)
