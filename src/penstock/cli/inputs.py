"""`--param`, `--step-param` and `--config` as one run configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer

from penstock.cli.output import literal
from penstock.client import configuration
from penstock.model.configuration import said
from penstock.model.snapshot import Content

_EVERY_KIND = frozenset({"string", "number", "boolean", "null", "array", "object"})
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    (str, "string"),
    ((int, float), "number"),
    (list, "array"),
    (dict, "object"),
)


def collect(
    content: Callable[[], Content],
    *,
    params: Sequence[str],
    step_params: Sequence[str],
    config: Path | None,
    run_name: str | None,
    preset: str | None = None,
) -> dict[str, Any]:
    """The run configuration that the options describe; single values go before those of the file.

    `content` gives what is going to run. It is asked for only if there are values whose type must be known; whether
    the names and values are right is left to the server.
    """
    whole: dict[str, Any] = said(configuration.checked(configuration.read(config))) if config else {}
    if params or step_params:
        known = content()
        parameters = _values(params, known.parameter_schema)
        whole["parameters"] = {**whole.get("parameters", {}), **parameters}
        whole["steps"] = _with_step_values(whole.get("steps", {}), step_params, known)
    if run_name is not None:
        whole["run_name"] = run_name
    if preset is not None:
        whole["preset"] = preset
    return whole


def parse(given: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """`given` as the value it stands for where `schema` (a part of `root`) describes what is expected.

    For a string it is the text itself (or the JSON string, if quoted as one); otherwise it is JSON, and text only if
    it is not JSON.
    """
    kinds = _kinds(schema, root)
    try:
        value = msgspec.json.decode(given)
    except msgspec.DecodeError:
        return given
    if isinstance(value, str) or "string" not in kinds:
        return value
    return value if _kind(value) in kinds else given


def _values(given: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in given:
        name, found, value = item.partition("=")
        if not found or not name:
            raise typer.BadParameter(f"'{item}': expected NAME=VALUE.", param_hint="--param")
        if name in values:
            raise typer.BadParameter(f"'{name}' is given twice.", param_hint="--param")
        values[name] = parse(value, schema.get("properties", {}).get(name, {}), schema)
    return values


def _with_step_values(steps: Mapping[str, Any], given: Sequence[str], content: Content) -> dict[str, Any]:
    """`steps` of a run configuration with the values of `--step-param` put in."""
    by_step: dict[str, list[str]] = {}
    for item in given:
        path, found, value = item.partition("=")
        step, dot, name = path.rpartition(".")
        if not (found and dot and step and name):
            raise typer.BadParameter(f"'{item}': expected STEP.NAME=VALUE.", param_hint="--step-param")
        by_step.setdefault(step, []).append(f"{name}={value}")
    merged = dict(steps)
    for step, items in by_step.items():
        invocation = content.graph.invocation(step)
        values = _values(items, invocation.schema if invocation else {})
        before = merged.get(step, {})
        merged[step] = {**before, "parameters": {**before.get("parameters", {}), **values}}
    return merged


def _kinds(schema: Mapping[str, Any], root: Mapping[str, Any]) -> frozenset[str]:
    """The kinds of JSON values that the schema admits, as far as can be told without a value."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return _kinds(root.get("$defs", {}).get(name, {}), root)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return frozenset().union(*(_kinds(one, root) for one in schema[key]))
    if "enum" in schema or "const" in schema:
        return frozenset(map(_kind, schema.get("enum", [schema.get("const")])))
    types = schema.get("type", _EVERY_KIND)
    listed = [types] if isinstance(types, str) else types
    return frozenset("number" if one == "integer" else one for one in listed)


def _kind(value: Any) -> str:
    return next((name for types, name in _KINDS if isinstance(value, types)), "null")


def as_yaml(value: Mapping[str, Any], indent: str = "") -> str:
    """The mapping as YAML whose texts are quoted, so that every reader takes them for texts."""
    lines = []
    for key, item in value.items():
        name = key if key.replace("_", "").isalpha() else json.dumps(key, ensure_ascii=False)
        if isinstance(item, Mapping) and item:
            lines.append(f"{indent}{name}:\n{as_yaml(item, indent + '  ')}")
        else:
            lines.append(f"{indent}{name}: {json.dumps(item, ensure_ascii=False)}\n")
    return "".join(lines)


def described(schema: Mapping[str, Any]) -> list[str]:
    """A line for each parameter: its name, the kinds of value that it takes, and its default."""
    needed = schema.get("required", ())
    return [
        f"{name}: {' or '.join(sorted(_kinds(one, schema)))}"
        + ("  (needed)" if name in needed or "default" not in one else f" = {literal(one['default'])}")
        for name, one in schema.get("properties", {}).items()
    ]
