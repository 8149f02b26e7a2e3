"""Values held against a JSON Schema: every mistake with its place, what is allowed there, and no word of a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs

from penstock.errors import fault, pointer
from penstock.model.secret import ADVICE
from penstock.model.secret import SCHEMA as SECRET


def schema_faults(schema: Mapping[str, Any], values: Mapping[str, Any], at: tuple[str, ...]) -> list[dict[str, Any]]:
    """What is wrong with the values that were given, pointed to below `at`; what is missing is judged elsewhere.

    Nobody may change a schema that was held against something: what was made of it is kept.
    """
    deep = [name for name, value in values.items() if _is_deep(value)]
    if deep:
        return [fault(pointer(*at, name), f"It is nested more than {_DEEPEST} levels deep.") for name in deep]
    return _check(_Same(schema)).faults(values, at) if values else []


class _Same:
    """A schema, equal to itself only: comparing two would take longer than to check a value."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema  # held, so that its identity goes to no other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.schema is other.schema

    def __hash__(self) -> int:
        return id(self.schema)


class _Check:
    """A schema made ready: to build a validator takes far longer than to use it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        partial = _exact({key: value for key, value in schema.items() if key != "required"})
        self._validator = jsonschema_rs.Draft202012Validator(partial, validate_formats=True, keywords={_EXACT: _Exact})
        properties = schema.get("properties", {})
        self._hidden = {name for name, described in properties.items() if _holds_secret(described, schema)}

    def faults(self, values: Mapping[str, Any], at: tuple[str, ...]) -> list[dict[str, Any]]:
        """One for each mistake."""
        return [
            _schema_fault(error, at, secret=bool(error.instance_path) and error.instance_path[0] in self._hidden)
            for error in self._validator.iter_errors(dict(values))
        ]


@lru_cache(maxsize=256)
def _check(same: _Same) -> _Check:
    return _Check(same.schema)


_DEEPEST = 200
"""Levels of lists and mappings in one value: what reads and copies values further on goes as deep, and not much deeper."""

_EXACT = "x-penstock-exact"


def _is_deep(value: Any) -> bool:
    if not isinstance(value, list | dict):
        return False
    level: list[Any] = [value]
    for _ in range(_DEEPEST + 1):
        held = [one for one in level if isinstance(one, list | dict)]
        level = [item for one in held for item in (one.values() if isinstance(one, dict) else one)]
    return bool(level)


class _Exact:
    """For JSON Schema 1e300 is an integer; nobody wrote one, and Python takes no such number for it."""

    def __init__(self, parent: Any, value: Any, path: Any) -> None:
        """As the validator calls it."""

    def validate(self, instance: Any) -> None:
        """Raise for a number that was written with a point or an exponent and is too large to be exact."""
        if isinstance(instance, float) and abs(instance) >= 2**63:
            raise ValueError(f"{instance} is no exact integer: write all of its digits")


def _exact(schema: Any) -> Any:
    """`schema`, with integers held to be exact."""
    if isinstance(schema, list):
        return [_exact(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    marked = {key: _exact(value) for key, value in schema.items()}
    return marked | {_EXACT: True} if schema.get("type") == "integer" else marked


def _holds_secret(described: Any, root: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> bool:
    """Whether a secret is given somewhere inside a value with this schema."""
    if isinstance(described, list):
        return any(_holds_secret(item, root, seen) for item in described)
    if not isinstance(described, Mapping):
        return False
    if described.get("format") == SECRET["format"]:
        return True
    name = str(described.get("$ref", "")).rpartition("/")[2]
    referred = root.get("$defs", {}).get(name) if name and name not in seen else None
    return any(_holds_secret(one, root, seen | {name}) for one in (*described.values(), referred))


def _schema_fault(error: jsonschema_rs.ValidationError, at: tuple[str, ...], *, secret: bool) -> dict[str, Any]:
    """One of the validator's errors, with the values that are allowed where the schema lists them."""
    where, value = pointer(*at, *error.instance_path), error.instance
    if secret:  # no words of it, not even of what is wrong with it
        return fault(where, ADVICE)
    options = getattr(error.kind, "options", None)
    if error.kind.name == "const":
        options = [getattr(error.kind, "expected_value", None)]
    if options is not None:
        told = [one if isinstance(one, str) else json.dumps(one) for one in options]
        return fault(where, f"{json.dumps(value)} is not one of the values.", allowed=told, given=str(value))
    branches = getattr(error.kind, "context", None)
    if branches:
        reasons = dict.fromkeys(inner.message for branch in branches for inner in branch)
        return fault(where, f"{'; '.join(reasons)}.")
    return fault(where, f"{error.message}.")
