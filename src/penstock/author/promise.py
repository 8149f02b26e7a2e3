"""What a run of a pipeline will have as outputs, as JSON Schema: read off the return annotations of its steps.

Written without pydantic, whose import takes longer than a small pipeline runs: only plain JSON stands in a run's record
itself, and everything else is a reference to an artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from penstock.author.returns import Returns
from penstock.model.graph import Binding, Graph, Output

ARTIFACT = {"$ref": "#/$defs/artifact"}

_REFERENCE = {
    "type": "object",
    "description": "A value that is no JSON, or takes more than 64 KB of it: download the artifact.",
    "properties": {"artifact": {"type": "string", "format": "uuid"}, "type": {"type": "string"}},
    "required": ["artifact", "type"],
    "additionalProperties": False,
}
_SCALARS: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    NoneType: {"type": "null"},
}
_TYPES = ("boolean", "integer", "number", "string")
_LISTS = (list, tuple, Sequence)
_MAPPINGS = (dict, Mapping)


def value_schema(annotation: Any) -> dict[str, Any]:
    """The schema of what stands in a run's record for a value of this type. Anything may stand there for `Any`."""
    if annotation is Any:
        return {}
    if annotation in _SCALARS:
        return dict(_SCALARS[annotation])
    plain = _plain(annotation)
    return ARTIFACT if plain is None else {"anyOf": [plain, ARTIFACT]}


def described(returns: Returns) -> tuple[Output, ...]:
    """The outputs of a step, each with the schema of its annotation."""
    pairs = zip(returns.outputs, returns.annotations, strict=True)
    return tuple(replace(output, schema=value_schema(annotation)) for output, annotation in pairs)


def output_schema(graph: Graph, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema 2020-12 (type `object`) of the outputs of a run; `parameters` is the schema of what it takes.

    Of a pipeline whose shape only a run knows, what is not seen in advance may come besides.
    """
    schemas = {
        (one.id, output.name): output.schema if output.schema is not None else {}
        for one in graph.invocations
        for output in one.outputs
    }
    properties = {name: _of(binding, schemas, parameters) for name, binding in graph.outputs.items()}
    whole: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [] if graph.dynamic else list(properties),
        "additionalProperties": graph.dynamic,
    }
    return whole | {"$defs": {"artifact": _REFERENCE}}


def _of(
    binding: Binding, schemas: Mapping[tuple[str, str], dict[str, Any]], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    if binding.kind == "output":
        return schemas.get((str(binding.step), str(binding.output)), {})
    if binding.kind == "parameter":
        given = parameters.get("properties", {}).get(binding.name, {})
        return {"type": given["type"]} if given.get("type") in _TYPES and "format" not in given else {}
    if binding.kind == "items":
        inside = [_of(item, schemas, parameters) for item in binding.items]
        if binding.keys:
            return {"type": "object", "properties": dict(zip(binding.keys, inside, strict=True))}
        return {"type": "array", "prefixItems": inside}
    return {}


def _plain(annotation: Any) -> dict[str, Any] | None:
    """The schema of a type whose values are plain JSON; None for all others."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return {}
    if origin is Annotated:
        return _plain(annotation.__origin__)
    if annotation is str:
        return {"type": "string"}
    if annotation in _SCALARS:
        return dict(_SCALARS[annotation])
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (Union, UnionType):
        inside = [_plain(part) for part in parts]
        return None if None in inside else {"anyOf": inside}
    if annotation in _LISTS or origin in _LISTS:
        return _list(origin, parts)
    if annotation in _MAPPINGS or origin in _MAPPINGS:
        return _mapping(parts)
    return None


def _list(origin: Any, parts: tuple[Any, ...]) -> dict[str, Any] | None:
    if not parts:
        return {"type": "array"}
    if origin is tuple and Ellipsis not in parts:
        inside = [_plain(part) for part in parts]
        return None if None in inside else {"type": "array", "prefixItems": inside, "minItems": len(parts)}
    items = _plain(parts[0])
    return None if items is None else {"type": "array", "items": items}


def _mapping(parts: tuple[Any, ...]) -> dict[str, Any] | None:
    if not parts:
        return {"type": "object"}
    values = _plain(parts[1]) if parts[0] is str else None
    return None if values is None else {"type": "object", "additionalProperties": values}
