"""The arguments of a function, read from its code object: `inspect` would double the time to import a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from penstock.errors import AuthoringError, fault, pointer

_VARIABLE_ARGUMENTS, _VARIABLE_KEYWORDS = 0x04, 0x08
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200


def plain(function: Callable[..., Any]) -> FunctionType | None:
    """The function under decorators that used `functools.wraps`; None if there is no Python function."""
    while not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        inner = getattr(function, "__wrapped__", None)
        if inner is None:
            return None
        function = inner
    return function


class Signature:
    """What a function may be called with. Every argument has a name: callers address arguments by name."""

    __slots__ = ("asynchronous", "defaults", "names", "open", "positional", "yields")

    names: tuple[str, ...]
    """In the order of the `def`."""

    positional: int
    """How many of `names` may be given by position."""

    defaults: Mapping[str, Any]
    open: bool
    """Whether other names are taken too (`**kwargs`)."""

    asynchronous: bool
    """Whether it is an `async def`."""

    yields: bool
    """Whether it is a generator."""

    def __init__(self, what: str, function: FunctionType) -> None:
        code = function.__code__
        if code.co_flags & _VARIABLE_ARGUMENTS:
            raise AuthoringError(f"{what} takes `*arguments`. Arguments are given by name: write each of them out.")
        if code.co_posonlyargcount:
            raise AuthoringError(
                f"{what} has positional-only arguments (`/`). Arguments are given by name: leave it out."
            )
        count = code.co_argcount
        self.names = code.co_varnames[: count + code.co_kwonlyargcount]
        self.positional = count
        positional_defaults = function.__defaults__ or ()
        first = count - len(positional_defaults)
        given = dict(zip(self.names[first:count], positional_defaults, strict=True))
        self.defaults = {**given, **(function.__kwdefaults__ or {})}
        self.asynchronous = bool(code.co_flags & (_COROUTINE | _ASYNC_GENERATOR))
        self.yields = bool(code.co_flags & (_GENERATOR | _ASYNC_GENERATOR))
        self.open = bool(code.co_flags & _VARIABLE_KEYWORDS)

    def bind(
        self, what: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, partial: bool = False
    ) -> dict[str, Any]:
        """What is given, by argument name, in the order of the signature; defaults are not filled in.

        With `partial`, arguments may be missing: somebody gives them later. Raises `AuthoringError` with every missing, unknown or doubled argument and the allowed names. Never looks at
        the values.
        """
        faults = []
        if len(args) > self.positional:
            faults.append(fault("", f"Takes {self.positional} arguments by position, {len(args)} were given."))
        given = dict(zip(self.names[: self.positional], args, strict=False))
        extra = {}
        for name, value in kwargs.items():
            if name in given:
                faults.append(fault(pointer(name), "Given twice: by position and by name."))
            elif name in self.names:
                given[name] = value
            elif self.open:
                extra[name] = value
            else:
                faults.append(fault(pointer(name), "There is no such argument.", allowed=self.names, given=name))
        missing = () if partial else self.missing(given)
        faults += [fault(pointer(name), "Missing; it has no default.") for name in missing]
        if faults:
            raise AuthoringError(f"{what} cannot be called like this.", errors=faults)
        return {name: given[name] for name in self.names if name in given} | extra

    def missing(self, given: Mapping[str, Any]) -> list[str]:
        """The arguments that are not given and have no default."""
        return [name for name in self.names if name not in given and name not in self.defaults]
