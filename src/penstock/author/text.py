"""The source text of a piece of the user's code: what tells whether it has changed."""

from __future__ import annotations

import inspect
import textwrap
from functools import lru_cache
from types import CodeType
from typing import Any


@lru_cache(maxsize=1024)
def source_text(thing: Any) -> str | None:
    """The source of a function, class or module, without decorators; the compiled code of a function that has none.

    None if neither can be had.
    """
    try:
        text = textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        code = getattr(inspect.unwrap(thing), "__code__", None)
        return None if code is None else _compiled(code)
    lines = text.splitlines()
    begin = next((at for at, line in enumerate(lines) if line.startswith(("def ", "async def ", "class "))), 0)
    return "\n".join(lines if inspect.ismodule(thing) else lines[begin:])


def _compiled(code: CodeType) -> str:
    """What a code object does, alike in every process: no addresses, no order of sets."""
    constants = [
        _compiled(one)
        if isinstance(one, CodeType)
        else repr(sorted(one, key=repr))
        if isinstance(one, frozenset)
        else repr(one)
        for one in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"
