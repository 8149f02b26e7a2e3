"""What `@step` and `@pipeline` share: a named function that never changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn, Self

from penstock.author.signature import Signature, plain
from penstock.errors import AuthoringError

_LONGEST_NAME = 128


class Declaration:
    """A function under a decorator of ours. Immutable: any number of threads may use one object at once."""

    kind: ClassVar[str]
    _derived: ClassVar[tuple[str, ...]] = ()
    """Cached properties that a copy works out anew."""

    function: Callable[..., Any]
    """The user's function, untouched."""

    name: str
    signature: Signature
    options: Any
    """What is said of it besides: an `Options`, or None for nothing."""

    def __init__(self, function: Callable[..., Any], name: str | None, given: Mapping[str, Any] | None = None) -> None:
        if isinstance(function, Declaration):
            raise AuthoringError(f"{function!r} is a {function.kind} already; decorate a plain function.")
        inner = plain(function)
        if inner is None:
            raise AuthoringError(
                f"@{self.kind} goes over a function written with `def`, not over {function!r}. "
                "A decorator in between must use functools.wraps."
            )
        where = f"The {self.kind} '{inner.__qualname__}'"
        copied = {key: getattr(inner, key) for key in ("__module__", "__name__", "__qualname__", "__doc__")}
        self.__dict__.update(
            vars(function),
            **copied,
            __wrapped__=function,
            function=function,
            name=checked_name(f"a {self.kind}", inner.__name__ if name is None else name),
            signature=Signature(where, inner),
            options=None,
        )
        if given:
            self.__dict__["options"] = self._read(given)

    @property
    def source(self) -> str:
        """`module:attribute`, under which the code archive has it."""
        # Not needed to declare anything: keeps the import of a pipeline fast.
        from penstock.author.source import source_of

        return source_of(self)

    def parameters(self) -> tuple[str, ...]:
        """The names of the arguments, in order."""
        return self.signature.names

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, partial: bool = False) -> dict[str, Any]:
        """What is given, by argument name; see `Signature.bind`."""
        return self.signature.bind(f"{self.kind.capitalize()} {self.name}", args, kwargs, partial=partial)

    def _read(self, given: Mapping[str, Any]) -> Any:
        """The options `given`; each kind of declaration has its own."""
        raise NotImplementedError

    def _copy(self, **changes: Any) -> Self:
        """The same function under changed attributes."""
        twin = object.__new__(type(self))
        twin.__dict__.update(vars(self) | changes)
        for name in self._derived:
            twin.__dict__.pop(name, None)
        return twin

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AuthoringError(f"{self!r} cannot be changed; declare another one.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AuthoringError(f"{self!r} cannot be changed; declare another one.")

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


def checked_name(what: str, name: object) -> str:
    """`name` if it can stand in addresses and references; raises `AuthoringError` saying what is allowed."""
    if (
        isinstance(name, str)
        and name == name.strip()
        and 0 < len(name) <= _LONGEST_NAME
        and name[0].isalnum() | (name[0] == "_")
        and all(letter.isalnum() or letter in "_-. " for letter in name)
    ):
        return name
    raise AuthoringError(
        f"{name!r} cannot name {what}. A name has 1 to {_LONGEST_NAME} letters, digits, `_`, `-`, `.` or blanks inside it, "
        "and begins with a letter, a digit or `_`."
    )
