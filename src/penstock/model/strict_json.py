"""JSON as its standard has it (RFC 8259), and nothing that one reader takes this way and another that way."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def loads(body: bytes) -> Any:
    """The value in `body`. Raises `json.JSONDecodeError`, also for NaN, numbers out of range, names given twice in one
    object, half characters (lone surrogates) and nesting deeper than Python follows.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("it is not UTF-8", "", error.start) from None

    def refuse(what: str) -> NoReturn:
        raise json.JSONDecodeError(what, text, 0)

    def number(digits: str) -> float:
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            refuse(f"the number {digits[:40]} is out of range")
        return value

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            refuse(f"the name {twice[:100]!r} is given twice in one object")
        return found

    try:
        value = json.loads(
            text,
            parse_constant=lambda name: refuse(f"{name} is no JSON"),
            parse_float=number,
            object_pairs_hook=members,
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        refuse("it is nested too deeply")
    except UnicodeEncodeError:
        refuse("a \\u escape stands for half a character")
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError):
            raise
        refuse("a number has too many digits")
    return value
