"""What a request says, held against what the pipeline takes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs

from penstock.errors import InvalidInput, MalformedRequest, fault, pointer
from penstock.ids import check_name
from penstock.model.artifact import is_reference
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration, filled_in
from penstock.model.inputs import resolve
from penstock.model.snapshot import Snapshot
from penstock.model.strict_json import loads

_FIELDS = ("parameters", "steps", "run_name", "tags", "skip_artifact_materialization")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One request, checked."""

    parameters: dict[str, Any]
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    run_name: str | None = None
    tags: tuple[str, ...] = ()
    in_memory: bool = False
    """The caller wants no artifacts kept, whatever the settings say."""


class Inputs:
    """Reads requests for the pipeline of one snapshot. What nearly all of them say is checked fast."""

    def __init__(self, snapshot: Snapshot) -> None:
        content = snapshot.content
        self._snapshot = snapshot
        schema = content.parameter_schema
        described: dict[str, Any] = schema.get("properties", {})
        self._names = frozenset(described)
        given = content.given
        self._defaults = {
            name: one["default"] for name, one in described.items() if "default" in one
        } | given.parameters
        self._needed = self._names - set(self._defaults)
        self._origins = {pointer("parameters", name): "default" for name in self._defaults}
        self._origins |= {pointer("parameters", name): "snapshot" for name in given.parameters}
        self._pointers = {name: pointer("parameters", name) for name in described}
        self._valid = jsonschema_rs.Draft202012Validator(
            {key: value for key, value in schema.items() if key != "required"}, validate_formats=True
        ).is_valid
        # Large integers written as floats, values of steps and artifacts take the long way, which says what is wrong.
        self._plain = not any(one.parameters for one in given.steps.values()) and not any(
            is_reference(one) for one in described.values()
        )

    def read(self, body: bytes, *, at: tuple[str | int, ...] = ()) -> Wanted:
        """The request in a body. Raises `MalformedRequest`, `InvalidInput`."""
        try:
            given = loads(body)
        except json.JSONDecodeError as error:
            raise MalformedRequest(f"The body is no JSON: {error.msg} (at character {error.pos}).") from None
        return self.checked(given, at=at)

    def checked(self, given: Any, *, at: tuple[str | int, ...] = ()) -> Wanted:
        """The request in a JSON value. Raises `InvalidInput` with every mistake, pointed to below `at`."""
        if not isinstance(given, dict):
            raise InvalidInput(
                "The request is an object: {'parameters': {...}}.", errors=[fault(pointer(*at), "Expected an object.")]
            )
        parameters = given.get("parameters")
        if len(given) == 1 and isinstance(parameters, dict) and self._plain and self._fit(parameters):
            origins = {**self._origins, **{self._pointers[name]: "request" for name in parameters}}
            return Wanted(parameters={**self._defaults, **parameters}, origins=origins)
        return self._thoroughly(given, at)

    def _fit(self, parameters: dict[str, Any]) -> bool:
        names = self._names.issuperset(parameters) and self._needed.issubset(parameters)
        return names and self._valid(parameters)

    def _thoroughly(self, given: dict[str, Any], at: tuple[str | int, ...]) -> Wanted:
        faults = [
            fault(pointer(*at, name), "There is no such field.", allowed=_FIELDS, given=name)
            for name in given
            if name not in _FIELDS
        ]
        if "parameters" not in given and self._needed:
            faults.append(fault(pointer(*at, "parameters"), "A value is needed: an object with the parameters."))
        parameters, steps = given.get("parameters", {}), given.get("steps", {})
        faults += _not_of(given, at, {"parameters": dict, "steps": dict, "skip_artifact_materialization": bool})
        if not faults:
            faults += [
                fault(pointer(*at, "steps", step), "Expected an object with `parameters`, and nothing else.")
                for step, said in steps.items()
                if not isinstance(said, dict)
                or set(said) - {"parameters"}
                or not isinstance(said.get("parameters", {}), dict)
            ]
        if faults:
            raise InvalidInput("The request does not fit what this service takes.", errors=faults)
        tags = given.get("tags", [])
        if not isinstance(tags, list) or not all(isinstance(one, str) for one in tags):
            raise InvalidInput(
                "Tags are a list of texts.", errors=[fault(pointer(*at, "tags"), "Expected a list of texts.")]
            )
        said = PipelineRunConfiguration(
            parameters=parameters,
            steps={step: StepConfiguration(parameters=one.get("parameters", {})) for step, one in steps.items()},
        )
        try:
            effective = resolve(self._snapshot, said)
        except InvalidInput as error:
            below = [{**one, "pointer": pointer(*at) + one["pointer"]} for one in error.errors]
            raise InvalidInput(error.detail, errors=below) from None
        return Wanted(
            parameters=effective.parameters,
            steps=effective.step_parameters,
            origins=effective.origins,
            run_name=self._run_name(given.get("run_name"), pointer(*at, "run_name")),
            tags=tuple(check_name(tag, what="tag", at=pointer(*at, "tags")) for tag in dict.fromkeys(tags)),
            in_memory=given.get("skip_artifact_materialization", False),
        )

    def _run_name(self, given: Any, at: str) -> str | None:
        if given is None:
            return None
        if not isinstance(given, str):
            raise InvalidInput("The name of a run is a text.", errors=[fault(at, "Expected a text.")])
        return check_name(filled_in(given, {}, datetime.now(UTC), where=at), what="run", at=at)


def _not_of(given: dict[str, Any], at: tuple[str | int, ...], kinds: dict[str, type]) -> list[dict[str, Any]]:
    words = {dict: "an object", bool: "true or false"}
    return [
        fault(pointer(*at, name), f"Expected {words[kind]}.")
        for name, kind in kinds.items()
        if name in given and not isinstance(given[name], kind)
    ]
