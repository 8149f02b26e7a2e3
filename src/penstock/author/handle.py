"""A handle: what a step call gives inside a pipeline, where the value is not known yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from penstock.errors import AuthoringError

if TYPE_CHECKING:
    from penstock.author.composer import Composer


class Handle:
    """One output of one step invocation. Pass it to another step, return it, or ask for its value with `load`.

    Immutable and hashable. Everything that would need the value raises `AuthoringError`: silence would be worse, since
    `handle == 3` and `if handle:` would otherwise have an answer that has nothing to do with the step.
    """

    __slots__ = ("composer", "output", "step", "type")

    step: str
    """The invocation id."""

    output: str
    type: str
    composer: Composer
    """Whoever made this handle, and knows its value."""

    def __init__(self, step: str, output: str, type: str, composer: Composer) -> None:
        for name, value in (("step", step), ("output", output), ("type", type), ("composer", composer)):
            object.__setattr__(self, name, value)

    def load(self) -> Any:
        """The value; waits until the step has ended. A pipeline that does this decides its shape while it runs."""
        return self.composer.load(self)

    def __repr__(self) -> str:
        return f"<{self.type} to come from step {self.step}, output {self.output}>"

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __copy__(self) -> Handle:
        return self

    def __deepcopy__(self, _: object) -> Handle:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise self._unknown(f"set .{name} of it")

    def __delattr__(self, name: str) -> NoReturn:
        raise self._unknown(f"delete .{name} of it")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # Python's own questions (copy, pickle, inspect) take no for an answer
        raise self._unknown(f"read .{name} of it")

    def __iter__(self) -> NoReturn:
        raise self._unknown(
            "iterate over it or unpack it", " A step gives several results if it is annotated `-> tuple[A, B]`."
        )

    def _unknown(self, deed: str, more: str = "") -> AuthoringError:
        return AuthoringError(
            f"Step {self.step}, output '{self.output}': you cannot {deed} here. A step's result is not known until it "
            f"ran: pass it to another step, or call .load().{more}"
        )


_OPERATORS = "add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift"
_DEEDS = {
    "compare it": "eq ne lt le gt ge",
    "decide on it": "bool",
    "ask for its length": "len",
    "index it": "getitem setitem delitem",
    "look into it": "contains",
    "call it": "call",
    "make a number of it": "int float complex index round trunc floor ceil",
    "use it as a path": "fspath",
    "enter it": "enter exit aenter aexit",
    "await it": "await aiter",
    "compute with it": "neg pos abs invert " + " ".join(f"{one} r{one} i{one}" for one in _OPERATORS.split()),
}


def _forbid(deed: str) -> Any:
    def refuse(self: Handle, *_: object) -> NoReturn:
        raise self._unknown(deed)

    return refuse


for _deed, _names in _DEEDS.items():
    for _name in _names.split():
        setattr(Handle, f"__{_name}__", _forbid(_deed))


def handles_in(value: Any) -> Iterator[Handle]:
    """The handles in `value`: itself, or what stands in it, however deep in lists, tuples and values of mappings."""
    if isinstance(value, Handle):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from handles_in(item)


def holds_handle(value: Any) -> bool:
    """Whether there is a handle in `value`."""
    if isinstance(value, dict | list | tuple):
        return any(map(holds_handle, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Handle)


def check_handles(value: Any, composer: Composer) -> None:
    """Refuse handles that `composer` did not make, and handles where nobody would find them: sets and mapping keys.

    Looks at exact types only: a value that is not ours must not notice that it was looked at.
    """
    kind = type(value)
    if kind is Handle:
        if value.composer is not composer:
            raise AuthoringError(
                f"{value!r} belongs to another run of a pipeline. Pass values between runs, not the handles of one run."
            )
    elif issubclass(kind, (list, tuple)):
        for item in value:
            check_handles(item, composer)
    elif issubclass(kind, dict):
        for item in value.values():
            check_handles(item, composer)
    if issubclass(kind, (set, frozenset, dict)) and any(type(key) is Handle for key in value):
        raise AuthoringError(
            "A step's result stands in a set or is the key of a mapping: nothing can be put in its place there once it "
            "is known. Put it into a list or a tuple, or make it a value of the mapping."
        )
