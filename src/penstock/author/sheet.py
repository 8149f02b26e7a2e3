"""A run configuration to be filled in: a commented YAML file with everything that can be said of a run of a pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.model.configuration import said
from penstock.model.snapshot import Content

STEP_OPTIONS: dict[str, tuple[str, str]] = {
    "enable_cache": ("true", "take earlier results if nothing has changed"),
    "cache_policy": ("{expires_after: 86400}", "what must be the same for that"),
    "retry": ("{max_retries: 3, delay: 1, backoff: 2, on: [ConnectionError]}", "try again when it fails"),
    "timeout": ("600", "seconds after which it is stopped"),
    "environment": ("{NAME: value}", "environment variables"),
    "secrets": ("[name]", "secrets that become environment variables"),
    "settings": ("{resources: {cpu_count: 2, memory: 4GB}}", "what it needs to run"),
    "extra": ("{key: value}", "anything that its code asks for"),
    "substitutions": ("{name: value}", "what stands for {name} in names"),
    "on_start": ("module:function", "hooks, by the names of functions in the code"),
    "on_success": ("module:function", ""),
    "on_failure": ("module:function", ""),
    "on_end": ("module:function", ""),
}
"""Option -> an example in YAML, and what it is for. What holds for one step may be said for all."""

RUN_OPTIONS: dict[str, tuple[str, str]] = {
    "run_name": ('"nightly-{date}"', "a name for the run"),
    "preset": ("production", "the named set of values of the run template that lies under these"),
    "priority": ("10", "the higher goes first; a point is worth a minute of waiting"),
    "tags": ("[nightly]", "words to find it by"),
    "execution_mode": ("continue_on_failure", "or stop_on_failure, fail_fast: what a failed step means for the others"),
    **STEP_OPTIONS,
    "timeout": ("3600", "seconds after which the whole run is stopped"),
    "on_init": ("module:function", "called before the first step; steps find what it returns in their context"),
    "on_init_kwargs": ("{key: value}", "what it is called with"),
    "on_cleanup": ("module:function", "called at the end"),
}


def sheet(content: Content) -> str:
    """The file for a frozen pipeline. Read back as it is, it says what holds anyway."""
    given = said(content.given)
    lines = [f"# Run configuration of pipeline {content.pipeline}.", "# Lines that begin with # say nothing yet.", ""]
    lines += _parameters(content.parameter_schema, given.get("parameters", {}))
    lines += _steps(content, given.get("steps", {}))
    lines += ["", "# What else can be said of the run, and under steps of a single one:"]
    lines += [_option(name, given) for name in RUN_OPTIONS]
    return "\n".join(lines) + "\n"


def _option(name: str, given: Mapping[str, Any]) -> str:
    example, meaning = RUN_OPTIONS[name]
    if name in given:
        return f"{name}: {_json(given[name])}"
    return f"# {name}: {example}" + (f"  # {meaning}" if meaning else "")


def _parameters(schema: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    properties = schema.get("properties", {})
    if not properties:
        return
    needed = [name for name in properties if "default" not in properties[name] and name not in given]
    yield "parameters:" if len(needed) < len(properties) else "parameters: {}"
    for name, described in properties.items():
        yield f"  # {_told(described, required=name in needed)}"
        value = given.get(name, described.get("default"))
        yield f"  # {_json(name)}:" if name in needed else f"  {_json(name)}: {_json(value)}"


def _steps(content: Content, given: Mapping[str, Any]) -> Iterator[str]:
    shown = {
        one.id: list(_arguments(one.schema, one.inputs, given.get(one.id, {}))) for one in content.graph.invocations
    }
    if not any(shown.values()):
        return
    yield ""
    yield (
        "steps:" if any(not line.lstrip().startswith("#") for lines in shown.values() for line in lines) else "# steps:"
    )
    for step, lines in shown.items():
        if lines:
            quiet = all(line.lstrip().startswith("#") for line in lines)
            yield f"{'#' if quiet else ' '} {_json(step)}:"
            yield f"{'#' if quiet else ' '}   parameters:"
            yield from lines


def _arguments(schema: Mapping[str, Any], inputs: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    values = given.get("parameters", {})
    for name, described in schema.get("properties", {}).items():
        binding = inputs.get(name)
        if binding is not None and binding.kind not in ("value", "parameter"):
            continue
        if name in values or (binding is not None and binding.kind == "value"):
            yield f"      # {_told(described, required=False)}"
            yield f"      {_json(name)}: {_json(values.get(name, binding.value if binding else None))}"
        elif binding is None and "default" in described:
            yield f"#     {_json(name)}: {_json(described['default'])}  # {_told(described, required=False)}"
        elif binding is None:
            yield f"#     {_json(name)}:  # {_told(described, required=True)}"


def _told(described: Mapping[str, Any], *, required: bool) -> str:
    kinds = [described, *described.get("anyOf", ())]
    types = [str(one.get("type", one.get("$ref", "")).rpartition("/")[2]) for one in kinds]
    words = [" or ".join(one for one in types if one) or "anything"]
    words += [f"one of {_json(described['enum'])}"] if "enum" in described else []
    words += [f"{name} {_json(described[name])}" for name in _BOUNDS if name in described]
    words += ["required"] if required else []
    text = ", ".join(words)
    about = " ".join(str(described.get("description", "")).split())
    return f"{about} ({text})" if about else text


_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
