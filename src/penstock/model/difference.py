"""What is different between two versions of a pipeline, and whether it breaks those who call it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from penstock.model.configuration import said
from penstock.model.graph import Graph, Invocation
from penstock.model.requirements import Requirements
from penstock.model.snapshot import Content

Subject = Literal["parameter", "output", "step", "code", "environment", "setting"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference. `breaking`: a caller that was right before may be refused, or miss what it reads."""

    subject: Subject
    name: str
    kind: Literal["added", "removed", "changed"]
    detail: str
    breaking: bool = False


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A caller, or a preset, whose input the newer version refuses; `faults` say why."""

    kind: Literal["preset", "run"]
    name: str
    account: str | None = None
    faults: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two versions of a template side by side."""

    template: str
    before: int
    after: int
    changes: tuple[Change, ...] = ()
    cache_lost: tuple[str, ...] = ()
    """Steps whose earlier results will not be taken: their code or constants changed, or those of a step before them, or what the pipeline requires."""

    checked: int = 0
    """So many presets and recent runs were held against the newer version."""

    hits: tuple[Hit, ...] = ()
    breaking: bool = False


def changes(before: Content, after: Content) -> list[Change]:
    """Everything that is different, those that break something first."""
    found = [
        *_schema_changes("parameter", before.parameter_schema, after.parameter_schema),
        *_schema_changes("output", before.output_schema, after.output_schema),
        *_step_changes(before.graph, after.graph),
        *_environment_changes(before, after),
        *_setting_changes(before, after),
    ]
    return sorted(found, key=lambda one: not one.breaking)


def cache_lost(old: Content, new: Content) -> list[str]:
    """The steps of `new` that will be carried out although they would have been taken from the cache in `old`."""
    before, after = old.graph, new.graph
    if old.environment.requires != new.environment.requires:
        return [one.id for one in after.invocations]
    lost: set[str] = set()
    for one in after.invocations:  # in the order in which the function makes them: what comes before is judged already
        earlier = before.invocation(one.id)
        same = earlier is not None and _code_of(earlier) == _code_of(one) and earlier.inputs == one.inputs
        if not same or lost & one.upstream():
            lost.add(one.id)
    return [one.id for one in after.invocations if one.id in lost]


def _code_of(one: Invocation) -> tuple[Any, ...]:
    return one.step, one.code, [(output.name, output.type) for output in one.outputs]


def _schema_changes(
    subject: Literal["parameter", "output"], before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Change]:
    old, new = _whole(before), _whole(after)
    input_side = subject == "parameter"
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield Change(subject=subject, name=name, kind="removed", detail="It is gone.", breaking=True)
        elif name not in old:
            needed = input_side and "default" not in new[name]
            told = "It is new, and a value is needed." if needed else "It is new."
            yield Change(subject=subject, name=name, kind="added", detail=told, breaking=needed)
        else:
            yield from _value_changes(subject, name, old[name], new[name])


def _value_changes(
    subject: Literal["parameter", "output"], name: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[Change]:
    shape_before, shape_after = _shape(old), _shape(new)
    if shape_before != shape_after:
        wider = accepts(shape_after, shape_before) if subject == "parameter" else accepts(shape_before, shape_after)
        told = f"It was {_told(shape_before)}, and is {_told(shape_after)} now."
        yield Change(subject=subject, name=name, kind="changed", detail=told, breaking=not wider)
    if subject == "output":
        return
    if "default" in old and "default" not in new:
        told = f"It has no default any more (it was {old['default']!r}): a value is needed."
        yield Change(subject=subject, name=name, kind="changed", detail=told, breaking=True)
    elif "default" in new and "default" not in old:
        told = f"It has a default now: {new['default']!r}."
        yield Change(subject=subject, name=name, kind="changed", detail=told)
    elif old.get("default") != new.get("default"):
        told = f"Its default was {old['default']!r}, and is {new['default']!r} now."
        yield Change(subject=subject, name=name, kind="changed", detail=told)


_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def accepts(wide: Any, narrow: Any) -> bool:
    """Whether every value that the schema `narrow` takes is certainly taken by `wide` too. In doubt it is not.

    It knows what pipelines have: types, bounds, lists of values, alternatives; anything else must be equal.
    """
    if wide == narrow or wide in ({}, True):
        return True
    if not isinstance(wide, Mapping) or not isinstance(narrow, Mapping):
        return False
    alternatives = _alternatives(narrow)
    if len(alternatives) > 1:
        return all(accepts(wide, one) for one in alternatives)
    branches = _alternatives(wide)
    if len(branches) > 1:
        return any(accepts(one, narrow) for one in branches)
    return _no_narrower(wide, narrow)


def _no_narrower(wide: Mapping[str, Any], narrow: Mapping[str, Any]) -> bool:
    known = {"type", "enum", "const", "items", *_LOWER, *_UPPER}
    if any(wide.get(key) != narrow.get(key) for key in (wide.keys() | narrow.keys()) - known):
        return False
    values = _values(narrow)
    if _values(wide) is not None and (values is None or not all(one in (_values(wide) or ()) for one in values)):
        return False
    if "type" in wide and wide["type"] != narrow.get("type"):
        numbers = (wide["type"], narrow.get("type")) == ("number", "integer")
        if not numbers:
            return False
    if "items" in wide and not accepts(wide["items"], narrow.get("items", {})):
        return False
    lower = all(key not in wide or (key in narrow and narrow[key] >= wide[key]) for key in _LOWER)
    return lower and all(key not in wide or (key in narrow and narrow[key] <= wide[key]) for key in _UPPER)


def _values(schema: Mapping[str, Any]) -> list[Any] | None:
    return list(schema["enum"]) if "enum" in schema else [schema["const"]] if "const" in schema else None


def _alternatives(schema: Mapping[str, Any]) -> list[Any]:
    if "anyOf" in schema and set(schema) == {"anyOf"}:
        return list(schema["anyOf"])
    return [schema]


_TOLD_LENGTH = 120


def _told(shape: Any) -> str:
    text = str(shape)
    if isinstance(shape, Mapping):
        values = _values(shape)
        rest = [f"{key} {value}" for key, value in shape.items() if key not in ("type", "enum", "const")]
        kind = "one of " + ", ".join(map(json.dumps, values)) if values else str(shape.get("type", "any value"))
        text = ", ".join([kind, *rest])
    return text if len(text) <= _TOLD_LENGTH else f"{text[:_TOLD_LENGTH]}..."


_WORDS = ("default", "description", "title", "examples")


def _shape(schema: Any, *, names: bool = False) -> Any:
    """A schema without what is only for people. In `names`, keys are names of properties and not words of the schema."""
    if isinstance(schema, Mapping):
        return {
            key: _shape(value, names=key in ("properties", "$defs"))
            for key, value in schema.items()
            if names or key not in _WORDS
        }
    return [_shape(one) for one in schema] if isinstance(schema, list) else schema


_MOST_PUT_IN = 1000
"""So many definitions are put in at most; schemas that refer to each other in circles would grow without end."""


def _whole(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The properties, with definitions put where they are referred to: what they are called says nothing.

    A definition inside itself is named by how far up it is.
    """
    definitions = schema.get("$defs", {})
    left = _MOST_PUT_IN

    def put_in(part: Any, inside: tuple[str, ...]) -> Any:
        nonlocal left
        if isinstance(part, list):
            return [put_in(one, inside) for one in part]
        if not isinstance(part, Mapping):
            return part
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        if name not in definitions:
            return {key: put_in(value, inside) for key, value in part.items()}
        rest = {key: value for key, value in part.items() if key != "$ref"}
        if name in inside:
            return {**rest, "$ref": inside[::-1].index(name)}
        left -= 1
        return dict(part) if left < 0 else put_in({**definitions[name], **rest}, (*inside, name))

    return {name: put_in(described, ()) for name, described in schema.get("properties", {}).items()}


def _step_changes(before: Graph, after: Graph) -> Iterator[Change]:
    old = {one.id: one for one in before.invocations}
    new = {one.id: one for one in after.invocations}
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield Change(subject="step", name=name, kind="removed", detail="It is gone.")
        elif name not in old:
            yield Change(subject="step", name=name, kind="added", detail="It is new.")
        else:
            for told in _step_details(old[name], new[name]):
                yield Change(subject="step", name=name, kind="changed", detail=told)
    if before.dynamic != after.dynamic:
        told = "The pipeline decides its steps while it runs now." if after.dynamic else "Its steps are known now."
        yield Change(subject="step", name="*", kind="changed", detail=told)


def _step_details(old: Invocation, new: Invocation) -> Iterator[str]:
    if old.code != new.code:
        yield "Its code changed."
    if old.inputs != new.inputs:
        yield "What it is given changed."
    if _code_of(old)[2] != _code_of(new)[2]:
        yield "Its outputs changed."
    if old.configuration != new.configuration:
        yield "Its options changed."


def _environment_changes(before: Content, after: Content) -> Iterator[Change]:
    if before.code != after.code:
        yield Change(subject="code", name="archive", kind="changed", detail="Files of the code changed.")
    for name in ("python", "platform", "executable", "preload"):
        old, new = getattr(before.environment, name), getattr(after.environment, name)
        if old != new:
            told = f"It was {old!r}, and is {new!r} now."
            yield Change(subject="environment", name=name, kind="changed", detail=told)
    yield from _requirement_changes(before.environment.requires, after.environment.requires)


def _requirement_changes(before: Requirements | None, after: Requirements | None) -> Iterator[Change]:
    old, new = _required(before), _required(after)
    for name in [*old, *(one for one in new if one not in old)]:
        if name not in new:
            yield Change(subject="environment", name=name, kind="removed", detail=f"It was {old[name]!r}.")
        elif name not in old:
            yield Change(subject="environment", name=name, kind="added", detail=f"It is {new[name]!r}.")
        elif old[name] != new[name]:
            told = f"It was {old[name]!r}, and is {new[name]!r} now."
            yield Change(subject="environment", name=name, kind="changed", detail=told)


def _required(given: Requirements | None) -> dict[str, str]:
    """What is required, by what it is of: one package may be named several times, with markers."""
    found: dict[str, list[str]] = {}
    if given is None:
        return {}
    if given.python is not None:
        found["required Python"] = [given.python]
    for word, lines in (("requirement", given.packages), ("locked", given.constraints)):
        for line in lines:
            name = re.match(r"[\w.-]*", line)
            found.setdefault(f"{word} {name[0] if name else line}", []).append(line)
    return {name: "; ".join(lines) for name, lines in found.items()}


def _setting_changes(before: Content, after: Content) -> Iterator[Change]:
    if before.stack != after.stack:
        told = f"It was {before.stack!r}, and is {after.stack!r} now."
        yield Change(subject="setting", name="stack", kind="changed", detail=told)
    for where in ("configuration", "given"):
        old, new = said(getattr(before, where)), said(getattr(after, where))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                told = f"It was {old.get(name)!r}, and is {new.get(name)!r} now."
                yield Change(subject="setting", name=name, kind="changed", detail=told)
