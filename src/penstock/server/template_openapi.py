"""One version of a run template as an OpenAPI 3.1 document: what a client is generated from that calls this very version.

Pure: a template, its version and the snapshot go in, plain JSON values come out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, unquote

from pydantic import TypeAdapter

from penstock.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MalformedRequest,
    NotFound,
    PenstockError,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from penstock.model.callback import LONGEST_URL
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.graph import Graph, Invocation
from penstock.model.run import TERMINAL, Run
from penstock.model.snapshot import Snapshot
from penstock.model.template import Template, TemplateVersion
from penstock.model.terms import Terms, kept_back, visible

_OWN = ("Parameters", "Outputs", "RunConfiguration", "Run", "Problem")
"""Names that mean the same in every such document, whatever the classes of a pipeline are called."""

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Which kind of problem this is."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened this time."},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Each mistake in the request.",
            "items": {
                "type": "object",
                "required": ["pointer", "message"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body."},
                    "message": {"type": "string"},
                    "allowed": {"type": "array", "items": {"type": "string"}},
                    "did_you_mean": {"type": "string"},
                },
            },
        },
    },
}

_REFUSALS: tuple[type[PenstockError], ...] = (
    MalformedRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    TooLarge,
    InvalidInput,
    TooManyRequests,
    Unavailable,
)

_TEXT = {"type": "string"}
_CALLBACK_URL = {
    "type": ["string", "null"],
    "maxLength": LONGEST_URL,
    "description": "Who is told of the run's end: `http(s)://...`.",
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N`: answer when the run has ended, after N seconds at the latest.",
    "schema": _TEXT,
    "example": "wait=30",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key with the same body means the same run, however often it is sent.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def describe(template: Template, version: TemplateVersion, snapshot: Snapshot) -> dict[str, Any]:
    """The document: how to start a run of this version, and how to look at it.

    What its request schema accepts has values that the template takes. It is stricter than the server in one point: a
    required parameter is to stand under `parameters`, though it may also be given by a preset, or to every step that it is
    passed on to.
    """
    components = _Components()
    body, needed = _configuration(components, snapshot, template.terms)
    run = _run(components, snapshot)
    components.put("Problem", PROBLEM)
    reference = f"{template.name}@v{version.version}"
    word = re.sub(r"\W", "_", template.name, flags=re.ASCII)
    told = template.description or snapshot.content.description
    start = {
        "operationId": f"run_{word}",
        "summary": f"Start a run of {reference}",
        "description": "An answer of 2xx means that the run is stored and will be carried out.",
        "parameters": [_KEY, _PREFER],
        "requestBody": {"required": needed, "content": {"application/json": {"schema": body}}},
        "callbacks": {"ended": {"{$request.body#/callback_url}": {"post": _callback(word, run)}}},
        "responses": {
            "202": _answer("The run is stored; it has not ended yet.", run, Location=_TEXT, **_RESULT, **_WAITED),
            "200": _answer("The run, which has ended.", run, Location=_TEXT, **_RESULT, **_WAITED),
            **_refusals(*_REFUSALS),
        },
    }
    look = {
        "operationId": f"get_run_of_{word}",
        "summary": "A run as it stands",
        "parameters": [{"name": "run_id", "in": "path", "required": True, "schema": _TEXT}, _PREFER],
        "responses": {
            "200": _answer("The run.", run, **_WAITED),
            **_refusals(Unauthenticated, Forbidden, NotFound, Unavailable),
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": template.name, "version": f"v{version.version}", **({"description": told} if told else {})},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": {
            f"/api/v1/run_templates/{quote(reference, safe='@')}/runs": {"post": start},
            "/api/v1/runs/{run_id}": {"get": look},
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or the token of a login."}
            },
            "schemas": components.schemas,
        },
    }


class _Components:
    """The schemas of the document. Definitions of one schema are shared by all, as client generators expect them."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}

    def put(self, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Keep `schema` under `name`, its own definitions beside it; return a reference to it."""
        definitions: dict[str, Any] = schema.get("$defs", {})
        names = self._names(definitions)
        self.schemas |= {names[key]: _rewritten(one, names) for key, one in definitions.items()}
        free = name if name in _OWN else self._free(name)
        own = {key: value for key, value in schema.items() if key != "$defs"}
        self.schemas[free] = _rewritten(own, names)
        return _reference(free)

    def _names(self, definitions: Mapping[str, Any]) -> dict[str, str]:
        """What each definition is called here: as before, unless something else is called so already."""
        names: dict[str, str] = {}
        for key in definitions:
            known = _word(key)
            names[key] = known if known not in (*_OWN, *names.values()) else self._free(known, names.values())
        renamed = True
        while renamed:  # what refers to a renamed one is another schema, too
            renamed = False
            for key, one in definitions.items():
                there = self.schemas.get(names[key])
                if there is not None and there != _rewritten(one, names):
                    names[key], renamed = self._free(names[key], names.values()), True
        return names

    def _free(self, name: str, others: Any = ()) -> str:
        word, number = _word(name), 1
        found = word
        while found in self.schemas or found in _OWN or found in others:
            number += 1
            found = f"{word}_{number}"
        return found


def _configuration(components: _Components, snapshot: Snapshot, terms: Terms) -> tuple[dict[str, Any], bool]:
    """A reference to the schema of the request's body, and whether there is no run without a body."""
    content = snapshot.content
    whole = _schema_of_configuration()
    step = {**whole["$defs"]["StepConfiguration"], "$defs": whole["$defs"]}
    components.put("Parameters", visible(_parameters(content.parameter_schema, content.given.parameters), terms))
    required = ["parameters"] if components.schemas["Parameters"].get("required") else []
    steps, wanted = {}, []
    for one in content.graph.invocations:
        given = content.given.steps[one.id].parameters if one.id in content.given.steps else {}
        values = _arguments(one, given, kept_back(terms, content.graph, one))
        typed = _with(step, {"parameters": components.put(f"{one.id}_parameters", values)})
        if values.get("required"):
            typed["required"] = ["parameters"]
            wanted.append(one.id)
        steps[one.id] = components.put(f"{one.id}_step", typed)
    by_step = {
        "type": "object",
        "description": "What holds for single steps, by invocation id.",
        "properties": steps,
        "additionalProperties": _others(content.graph),
        **({"required": wanted} if wanted else {}),
    }
    required += ["steps"] if wanted else []
    preset = {"description": "A named set of values of the template.", "enum": [*terms.presets, None]}
    members = {
        "parameters": _reference("Parameters"),
        "steps": by_step,
        "preset": preset,
        "callback_url": _CALLBACK_URL,
    }
    body = _with(whole, members) | ({"required": required} if required else {})
    return components.put("RunConfiguration", body), bool(required)


def _others(graph: Graph) -> Any:
    """What may be said of steps that the frozen graph does not have: a dynamic pipeline may still come to them."""
    return {"$ref": "#/$defs/StepConfiguration"} if graph.dynamic else False


def _parameters(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the pipeline, where what the snapshot says of all its runs is a default like another."""
    described: dict[str, Any] = schema.get("properties", {})
    properties = {name: {**one, "default": given[name]} if name in given else one for name, one in described.items()}
    return _object(schema, properties, [name for name in schema.get("required", ()) if name not in given])


def _arguments(invocation: Invocation, given: Mapping[str, Any], kept_back: Collection[str]) -> dict[str, Any]:
    """The arguments of a step that may be given. Without defaults: a client that sent them would overrule the pipeline."""
    computed = {
        name for name, binding in invocation.inputs.items() if any(leaf.kind == "output" for leaf in binding.leaves())
    }
    described: dict[str, Any] = invocation.schema.get("properties", {})
    properties = {
        name: {key: value for key, value in one.items() if key != "default"}
        for name, one in described.items()
        if name not in computed and name not in kept_back
    }
    left = [
        name
        for name in invocation.schema.get("required", ())
        if name in properties and name not in invocation.inputs and name not in given
    ]
    return _object(invocation.schema, properties, left)


def _object(schema: Mapping[str, Any], properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    changed = {**schema, "type": "object", "properties": properties, "additionalProperties": False}
    changed.pop("required", None)
    return changed | ({"required": required} if required else {})


def _run(components: _Components, snapshot: Snapshot) -> dict[str, Any]:
    """A reference to the schema of a run whose outputs are those of this pipeline."""
    outputs = components.put("Outputs", snapshot.content.output_schema or {"type": "object"})
    told = {"anyOf": [outputs, {"type": "null"}], "description": "What the pipeline returned; null before the end."}
    return components.put("Run", _with(_schema_of_run(), {"outputs": told}))


def _callback(word: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """What whoever is named in `callback_url` is sent, and has to answer."""
    ends = sorted(f"run.{state}" for state in TERMINAL)
    body = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "enum": ends},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": run,
        },
    }
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return {
        "operationId": f"run_of_{word}_ended",
        "summary": "The run has ended",
        "description": "Signed as Standard Webhooks says it; sent again under the same `webhook-id` until it is answered with 2xx.",
        "parameters": [{"name": name, "in": "header", "required": True, "schema": _TEXT} for name in names],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"2XX": {"description": "It was heard."}, "410": {"description": "It is not sent again."}},
    }


def _with(schema: Mapping[str, Any], members: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "properties": {**schema["properties"], **members}}


@cache
def _schema_of_configuration() -> dict[str, Any]:
    return TypeAdapter(PipelineRunConfiguration).json_schema()


@cache
def _schema_of_run() -> dict[str, Any]:
    return TypeAdapter(Run).json_schema(mode="serialization")


def _answer(description: str, schema: Mapping[str, Any], **headers: Any) -> dict[str, Any]:
    told = {name.replace("_", "-"): {"schema": one} for name, one in headers.items()}
    return {"description": description, "headers": told, "content": {"application/json": {"schema": schema}}}


_RESULT = {"Idempotency_Result": {**_TEXT, "description": "`created`, or how an earlier run was found."}}
_WAITED = {"Preference_Applied": _TEXT}
_HEADERS = {401: {"WWW-Authenticate": _TEXT}, 429: {"Retry-After": _TEXT}, 503: {"Retry-After": _TEXT}}


def _refusals(*kinds: type[PenstockError]) -> dict[str, Any]:
    return {
        str(kind.status): {
            "description": kind.title(),
            "headers": {name: {"schema": one} for name, one in _HEADERS.get(kind.status, {}).items()},
            "content": {"application/problem+json": {"schema": _reference("Problem")}},
        }
        for kind in kinds
    }


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _word(name: str) -> str:
    """`name` with what a component's name may not have replaced."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name) or "_"


_VALUES = ("default", "const", "enum", "examples", "example")
"""Keywords whose values are the pipeline's own: nothing in them is a schema, whatever it looks like."""

_BY_NAME = ("properties", "patternProperties", "$defs", "dependentSchemas")
"""Keywords with schemas under names that people chose: a parameter may be called `default`."""


def _rewritten(schema: Any, names: Mapping[str, str]) -> Any:
    """`schema`, with its references into its own definitions led to where these are now."""
    if isinstance(schema, list):
        return [_rewritten(one, names) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _rewritten_member(key, value, names) for key, value in schema.items()}


def _rewritten_member(keyword: str, value: Any, names: Mapping[str, str]) -> Any:
    if keyword in _VALUES:
        return value
    if keyword == "$ref":
        return _led(value, names)
    if keyword == "discriminator" and isinstance(value, dict):
        return {**value, "mapping": {tag: _led(one, names) for tag, one in value.get("mapping", {}).items()}}
    if keyword in _BY_NAME and isinstance(value, dict):
        return {name: _rewritten(one, names) for name, one in value.items()}
    return _rewritten(value, names)


def _led(target: str, names: Mapping[str, str]) -> str:
    start = "#/$defs/"
    if not target.startswith(start):
        return target
    name = unquote(target.removeprefix(start)).replace("~1", "/").replace("~0", "~")
    return f"#/components/schemas/{names[name]}" if name in names else target
