"""A run template: a name that people and machines call, holding numbered versions of which each is a snapshot."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from penstock.errors import InvalidInput, fault
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration, laid_over, said
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


def config_template(snapshot: Snapshot) -> PipelineRunConfiguration:
    """A run configuration ready to edit: every value that has a default, for the pipeline and under its steps.

    What the pipeline only passes on to a step stands once, under the pipeline: a value under a step would win over it. What
    is required is left for the caller to fill in; the parameter schema says what that is.
    """
    properties = snapshot.content.parameter_schema.get("properties", {})
    defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    steps = {
        one.id: StepConfiguration(
            parameters={name: binding.value for name, binding in one.inputs.items() if binding.kind == "value"}
        )
        for one in snapshot.content.graph.invocations
    }
    return laid_over(PipelineRunConfiguration(parameters=defaults, steps=steps), snapshot.content.given)


@dataclass(frozen=True, kw_only=True)
class TemplateDetail:
    """A template with what a caller needs to fill it in."""

    template: Template
    parameter_schema: dict[str, Any] = field(default_factory=dict)
    output_schema: dict[str, Any] = field(default_factory=dict)
    config_template: PipelineRunConfiguration = field(default_factory=PipelineRunConfiguration)
    steps: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON, with a configuration that says no more than it has to."""
        members = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**members, "config_template": said(self.config_template)}

    @property
    def id(self) -> str:
        """The template's id."""
        return self.template.id

    @property
    def name(self) -> str:
        """The template's name."""
        return self.template.name
