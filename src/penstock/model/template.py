"""A run template: a name that people and machines call, holding numbered versions of which each is a snapshot."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from penstock.errors import InvalidInput, fault
from penstock.model.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class TemplateVersion:
    """One published version; `version` counts from 1."""

    version: int
    snapshot_id: str
    created: datetime


@dataclass(frozen=True, kw_only=True)
class Template:
    """The record of a run template. `name` alone means its latest version."""

    id: str
    name: str
    description: str | None = None
    tags: tuple[str, ...] = ()
    pipeline_id: str
    pipeline_name: str
    versions: tuple[TemplateVersion, ...] = ()
    created: datetime

    @property
    def latest(self) -> TemplateVersion:
        """The version that the bare name means."""
        return self.versions[-1]


_REFERENCE = re.compile(r"(?P<name>[^@]+)(@v(?P<version>[1-9][0-9]{0,8}))?")


def parse_reference(text: str) -> tuple[str, int | None]:
    """`name` or `name@v3` (or an id in the place of the name) as name and version; None means the latest."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        problem = fault("", f"'{text}' is not a template reference: write NAME or NAME@vN.")
        raise InvalidInput(f"'{text}' is not a template reference.", errors=[problem])
    version = match["version"]
    return match["name"], int(version) if version else None


def config_template(snapshot: Snapshot) -> dict[str, Any]:
    """A run configuration ready to edit: every parameter that can be given, with its default (None where there is none)."""
    properties = snapshot.content.parameter_schema.get("properties", {})
    steps: dict[str, Any] = {}
    for invocation in snapshot.content.graph.invocations:
        given = {
            name: binding.value if binding.kind == "value" else properties.get(binding.name, {}).get("default")
            for name, binding in invocation.inputs.items()
            if binding.kind in ("value", "parameter")
        }
        if given:
            steps[invocation.id] = {"parameters": given}
    return {"parameters": {name: schema.get("default") for name, schema in properties.items()}, "steps": steps}


@dataclass(frozen=True, kw_only=True)
class TemplateDetail:
    """A template with what a caller needs to fill it in."""

    template: Template
    parameter_schema: dict[str, Any] = field(default_factory=dict)
    output_schema: dict[str, Any] = field(default_factory=dict)
    config_template: dict[str, Any] = field(default_factory=dict)
    steps: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The template's id."""
        return self.template.id

    @property
    def name(self) -> str:
        """The template's name."""
        return self.template.name
