"""Which materializer keeps a value: asked by class, the most specific first, with pickle at the end of the line."""

from __future__ import annotations

import warnings
from functools import cache, lru_cache
from typing import Any, TypeVar

from penstock.errors import ArtifactError, AuthoringError
from penstock.runtime.materializers.arrow_table import ArrowTable
from penstock.runtime.materializers.base import Materializer
from penstock.runtime.materializers.binary import Binary
from penstock.runtime.materializers.markup import Markup
from penstock.runtime.materializers.matplotlib_figure import MatplotlibFigure
from penstock.runtime.materializers.numpy_array import NumpyArray
from penstock.runtime.materializers.pandas_frame import PandasFrame
from penstock.runtime.materializers.path import PathContent
from penstock.runtime.materializers.pickled import Pickled
from penstock.runtime.materializers.pil_image import PilImage
from penstock.runtime.materializers.plotly_figure import PlotlyFigure
from penstock.runtime.materializers.polars_frame import PolarsFrame
from penstock.runtime.materializers.sklearn_estimator import SklearnEstimator
from penstock.runtime.materializers.stream import Streamed
from penstock.runtime.materializers.structured import Structured
from penstock.runtime.materializers.text import Text
from penstock.runtime.materializers.torch_state import TorchState
from penstock.runtime.materializers.torch_tensor import TorchTensor

GROUP = "penstock.materializers"
"""The entry point group of plug-ins. An entry is called like its materializer and names the class.

A plug-in is for classes that nothing here is made for. Whoever wants another materializer for a class that has one registers
it with `register`, in the code that uses it.
"""

_FALLBACK = Pickled()
_BUILT_IN: tuple[Materializer, ...] = (
    Text(),
    Binary(),
    PathContent(),
    TorchState(),  # before the one for all other mappings
    Structured(),
    NumpyArray(),
    PandasFrame(),
    SklearnEstimator(),
    ArrowTable(),
    PolarsFrame(),
    PilImage(),
    MatplotlibFigure(),
    PlotlyFigure(),
    Markup(),
    TorchTensor(),
    Streamed(),
)
_registered: dict[str, Materializer] = {}

M = TypeVar("M", bound=type[Materializer])


def register(materializer: M) -> M:
    """Use this class of materializer, before the built-in ones, from now on in this process. Also a class decorator.

    Raises `AuthoringError` if its name is taken by another one: stored artifacts name who can read them.
    """
    name = materializer.name
    taken = name in {one.name for one in (*_BUILT_IN, _FALLBACK)}
    known = type(_registered[name]) if name in _registered else materializer
    # The same class again is a module or a notebook cell that ran twice.
    if taken or (known.__module__, known.__qualname__) != (materializer.__module__, materializer.__qualname__):
        raise AuthoringError(
            f"There is a materializer called '{name}' already: give {materializer.__qualname__} another name."
        )
    _registered[name] = materializer()
    _for_kind.cache_clear()
    return materializer


def find(value: Any) -> Materializer:
    """The materializer that is asked first to keep `value`."""
    return candidates(value)[0]


def candidates(value: Any) -> tuple[Materializer, ...]:
    """All materializers for the class of `value`, in the order in which they are asked; pickle is the last."""
    kind: Any = type(value)
    return _for_kind(kind)


@lru_cache(maxsize=1024)
def _for_kind(kind: type) -> tuple[Materializer, ...]:
    found = _for_class(kind, (*reversed(_registered.values()), *_BUILT_IN))
    # Only pickle is left: worth the tens of milliseconds that it takes to look for plug-ins.
    return (*(found or _for_class(kind, tuple(_plug_ins().values()))), _FALLBACK)


def named(name: str) -> Materializer:
    """The materializer that wrote `name` into an artifact. Raises `ArtifactError` if it is not known here."""
    for one in (*_BUILT_IN, _FALLBACK, *_registered.values()):
        if one.name == name:
            return one
    if name in _plug_ins():
        return _plug_ins()[name]
    raise ArtifactError(
        f"It was stored by the materializer '{name}', which is not known here: install the package that brings it, or "
        "import the module that registers it."
    )


def _for_class(kind: type, known: tuple[Materializer, ...]) -> tuple[Materializer, ...]:
    ordered: dict[Materializer, None] = {}
    for base in kind.__mro__[:-1]:
        ordered.update(dict.fromkeys(one for one in known if one.handles(base)))
    return tuple(ordered)


@cache
def _plug_ins() -> dict[str, Materializer]:
    # Here and not above: importing importlib.metadata takes longer than saving a thousand values.
    from importlib.metadata import entry_points

    found: dict[str, Materializer] = {}
    for entry in entry_points(group=GROUP):
        try:
            one = entry.load()()
        except Exception as error:  # noqa: BLE001  # a plug-in may do anything when it is imported
            # One broken package must not take all values hostage; a value that needs it will say so by its name.
            warnings.warn(f"The materializer '{entry.name}' ({entry.value}) cannot be used: {error}", stacklevel=2)
        else:
            found[one.name] = one
    return found
