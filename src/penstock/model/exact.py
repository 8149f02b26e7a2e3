"""Records that come in requests: nothing in them is taken for something else, and unknown names are refused.

`reading` is as strict where there is no pydantic. Here is told to pydantic what it would take otherwise, without importing it.
"""

from __future__ import annotations

from typing import Any, ClassVar


class Exact:
    """Base of such a record."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """By itself pydantic takes `"1"` and true for 1, and `"yes"` and 1 for true."""
        schema = handler(source)
        _hold(handler.resolve_ref_schema(schema))
        return schema


def number(value: Any) -> Any:
    """`value`, unless it is one that pydantic would make a number of."""
    if isinstance(value, str | bytes | bool):
        raise ValueError("a number is expected")  # noqa: TRY004  (pydantic makes a mistake of this one, and of no other)
    return value


def truth(value: Any) -> Any:
    """`value`, unless it is one that pydantic would make a truth value of."""
    if not isinstance(value, bool) and isinstance(value, str | bytes | int | float):
        raise ValueError("true or false is expected")  # noqa: TRY004
    return value


_FIRST = {"int": number, "float": number, "bool": truth}


def _hold(schema: Any) -> None:
    """Look at every number and truth value in this description of a record before pydantic does."""
    if isinstance(schema, list | tuple):
        for one in schema:
            _hold(one)
    elif isinstance(schema, dict) and (first := _FIRST.get(schema.get("type", ""))) is not None:
        inner = dict(schema)
        schema.clear()
        schema |= {"type": "function-before", "function": {"type": "no-info", "function": first}, "schema": inner}
    elif isinstance(schema, dict) and schema.get("type") != "function-before":  # else it is held already
        for name, one in schema.items():
            if name != "metadata":
                _hold(one)
