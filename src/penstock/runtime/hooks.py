"""Hooks: functions that are called when a step or a run begins, ends well, fails, or ends at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from penstock.author.signature import Signature, plain
from penstock.author.source import load_function
from penstock.runtime.calling import called
from penstock.runtime.streams import Printing
from penstock.runtime.tracebacks import failure
from penstock.runtime.watch import Work

Function = Callable[..., Any]


def found(name: str, given: Callable[[str], Function | None]) -> Function:
    """The function called `name`: the very one that the code gave, or an imported one. Raises `SourceNotFound`."""
    return given(name) or load_function(name)


def call(name: str, given: Callable[[str], Function | None], offered: Mapping[str, Any]) -> Any:
    """Call the hook with as much of what is `offered` as its signature takes: by name where it fits, else in order."""
    function = found(name, given)
    return called(function, _arguments(function, offered), Work(name))


def notify(
    name: str | None, given: Callable[[str], Function | None], offered: Mapping[str, Any], log: Printing
) -> None:
    """Call the hook, if there is one. What it raises is put into the log and changes nothing: what it is told of has
    happened.
    """
    if name is None:
        return
    try:
        call(name, given, offered)
    except Exception as error:  # noqa: BLE001  # a hook is user code
        log.note(f"penstock: the hook {name} failed.\n{failure(error).traceback or error}")


def _arguments(function: Function, offered: Mapping[str, Any]) -> dict[str, Any]:
    inner = plain(function)
    if inner is None:
        return {}
    signature = Signature(f"The hook '{inner.__qualname__}'", inner)
    if signature.open:
        return dict(offered)
    arguments = {name: offered[name] for name in signature.names if name in offered}
    left = [value for name, value in offered.items() if name not in arguments]
    for name in signature.names:
        if name not in arguments and name not in signature.defaults and left:
            arguments[name] = left.pop(0)
    return arguments
