"""A run configuration: what a caller gives for one run, from Python or from a file, checked before it is sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from penstock.errors import InvalidInput, fault, pointer
from penstock.model import reading
from penstock.model.configuration import (
    CachePolicy,
    ExecutionMode,
    PipelineRunConfiguration,
    Settings,
    StepConfiguration,
    StepRetryConfig,
    said,
)


class Configuration(TypedDict, total=False):
    """What can be given for one run, as keyword arguments. `PipelineRunConfiguration` says what they mean."""

    parameters: Mapping[str, Any]
    steps: Mapping[str, StepConfiguration | Mapping[str, Any]]
    preset: str | None
    run_name: str | None
    tags: Iterable[str]
    enable_cache: bool | None
    cache_policy: CachePolicy | Mapping[str, Any] | None
    retry: StepRetryConfig | Mapping[str, Any] | None
    timeout: float | None
    execution_mode: ExecutionMode | None
    environment: Mapping[str, str]
    secrets: Iterable[str]
    settings: Settings | Mapping[str, Any]
    extra: Mapping[str, Any]
    substitutions: Mapping[str, str]
    on_init: str | None
    on_init_kwargs: Mapping[str, Any]
    on_cleanup: str | None
    on_start: str | None
    on_success: str | None
    on_failure: str | None
    on_end: str | None


FIELDS = tuple(Configuration.__annotations__)

# The core schema of YAML 1.2, in which `1e-3` is a number, and `on` and `2024-01-01` are strings. YAML 1.1, which is
# PyYAML's own choice, has it the other way round. Numbers with a leading zero stay text: the two disagree on them.
_YAML_CORE = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
)


def checked(configuration: PipelineRunConfiguration | Mapping[str, Any]) -> PipelineRunConfiguration:
    """`configuration` (bare, or under the one key `run_configuration`) as a record.

    Raises `InvalidInput` with every unknown field and every value that does not fit or that JSON cannot carry; what the
    pipeline takes is judged by the server.
    """
    if isinstance(configuration, PipelineRunConfiguration):
        return _sendable(configuration)
    if set(configuration) == {"run_configuration"}:
        configuration = configuration["run_configuration"]
    if not isinstance(configuration, Mapping):
        raise InvalidInput(f"A run configuration is a mapping with {', '.join(FIELDS)}, not {configuration!r}.")
    given = {name: _as_list(value) if name in _LISTS else value for name, value in configuration.items()}
    whole = reading.read(PipelineRunConfiguration, given, what="The run configuration")
    return _sendable(whole)


def as_arguments(configuration: PipelineRunConfiguration) -> dict[str, Any]:
    """What it says, as keyword arguments of the calls that start runs."""
    return {one.name: getattr(configuration, one.name) for one in fields(configuration)}


_LISTS = ("tags", "secrets")


def _as_list(value: Any) -> Any:
    """Any iterable of texts as a list; a single text is a mistake that the reader tells."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else value


def _sendable(configuration: PipelineRunConfiguration) -> PipelineRunConfiguration:
    faults = list(_unsendable(said(configuration), ()))
    if faults:
        raise InvalidInput("The run configuration is not right; nothing was started.", errors=faults)
    return configuration


def read(path: Path | str) -> dict[str, Any]:
    """The run configuration in a YAML or JSON file. Raises `InvalidInput`, with the place in the file."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The configuration file {file} cannot be read: {error}.") from error
    content = _json(file, text) if file.suffix == ".json" else _yaml(file, text)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidInput(f"{file} holds no run configuration: expected a mapping with {', '.join(FIELDS)}.")
    return content


def _unsendable(value: Any, at: tuple[str | int, ...]) -> Iterator[dict[str, Any]]:
    """Every value inside `value` that would not arrive as what it is."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield fault(pointer(*at), f"{key!r} cannot be a name: names are strings.")
            yield from _unsendable(item, (*at, str(key)))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _unsendable(item, (*at, index))
    elif isinstance(value, float) and not math.isfinite(value):
        yield fault(pointer(*at), f"{value} is no JSON number.")
    elif not isinstance(value, (str, int, float, type(None))):
        try:
            msgspec.json.encode(value)
        except TypeError:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            yield fault(pointer(*at), f"A {kind} is no JSON value: give plain numbers, strings, lists and dicts.")


def _json(file: Path, text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_repeated(file, (key for key, _ in pairs))
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{file} is not valid JSON: {error}.") from error


def _yaml(file: Path, text: str) -> Any:
    import yaml  # heavy, and most callers never read a file

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            _refuse_repeated(file, (key.value for key, _ in node.value))
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {}
    for tag, pattern, first in _YAML_CORE:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))
    try:
        return yaml.load(text, Loader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        raise InvalidInput(f"{file} is not valid YAML: {error}") from error


def _refuse_repeated(file: Path, keys: Iterable[Any]) -> None:
    """JSON and YAML readers keep the last of two equal keys in silence; here nobody's value is dropped."""
    seen: set[str] = set()
    for key in map(str, keys):
        if key in seen:
            raise InvalidInput(f"{file}: '{key}' stands twice in one mapping.")
        seen.add(key)
