"""A run template: a name that people and machines call, holding numbered versions of which each is a snapshot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from penstock.errors import InvalidInput, fault
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration, laid_over, said
from penstock.model.snapshot import Snapshot
from penstock.model.terms import Terms


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
    aliases: dict[str, int] = field(default_factory=dict)
    """Names for versions, which are moved: `prod`, `staging`. The one called `default` is what the bare name means."""

    terms: Terms = field(default_factory=Terms)
    revision: int = 1
    """Counts the changes of the terms."""

    created: datetime

    @property
    def latest(self) -> TemplateVersion:
        """The version that was published last."""
        return self.versions[-1]

    @property
    def current(self) -> TemplateVersion:
        """The version that the bare name means: the alias `default`, or the latest as long as there is none."""
        return self.version(self.aliases.get(DEFAULT)) or self.latest

    def version(self, number: int | None) -> TemplateVersion | None:
        """The version with this number."""
        return next((one for one in self.versions if one.version == number), None)


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """One entry in the history of an alias; `number` counts from 1. `version` is None where it was taken away."""

    alias: str
    number: int
    version: int | None
    at: datetime
    account: str
    note: str | None = None


DEFAULT = "default"
LATEST = "latest"

_REFERENCE = re.compile(r"(?P<name>[^@]+)(@(v(?P<version>[1-9][0-9]{0,8})|(?P<alias>[a-z][a-z0-9_-]{0,62})))?")
_VERSION = re.compile(r"v[-_]?[0-9].*")


def parse_reference(text: str) -> tuple[str, int | str | None]:
    """`name`, `name@v3` or `name@prod` (or an id in the place of the name) as name and version or alias; None is neither."""
    match = _REFERENCE.fullmatch(text)
    alias = match["alias"] if match is not None else None
    if match is None or (alias is not None and _VERSION.fullmatch(alias)):
        problem = fault("", f"'{text}' is not a template reference: write NAME, NAME@vN or NAME@ALIAS.")
        raise InvalidInput(f"'{text}' is not a template reference.", errors=[problem])
    version = match["version"]
    return match["name"], int(version) if version else alias


def named(version: str) -> int | str:
    """`v7` as the number 7; anything else is an alias, or nothing that there is."""
    return int(version[1:]) if re.fullmatch(r"v[1-9][0-9]{0,8}", version) else version


def checked_alias(name: str) -> str:
    """A name that may be given to a version. Raises `InvalidInput`."""
    match = _REFERENCE.fullmatch(f"x@{name}")
    if match is None or match["alias"] is None or _VERSION.fullmatch(name) or name == LATEST:
        said = (
            "An alias has small letters, digits, _ and -, begins with a letter, and is neither 'latest' nor like 'v7'."
        )
        raise InvalidInput(f"'{name}' cannot be an alias.", errors=[fault("/alias", said)])
    return name


def config_template(snapshot: Snapshot, terms: Terms | None = None) -> PipelineRunConfiguration:
    """A run configuration ready to edit: every value that has a default, for the pipeline and under its steps.

    What the pipeline only passes on to a step stands once, under the pipeline: a value under a step would win over it. What
    is required is left for the caller to fill in; the parameter schema says what that is. What the terms keep to
    themselves is not there.
    """
    terms = terms or Terms()
    properties = snapshot.content.parameter_schema.get("properties", {})
    defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    steps = {
        one.id: StepConfiguration(
            parameters={name: binding.value for name, binding in one.inputs.items() if binding.kind == "value"}
        )
        for one in snapshot.content.graph.invocations
    }
    code = PipelineRunConfiguration(parameters=defaults, steps=steps)
    whole = laid_over(laid_over(code, snapshot.content.given), terms.defaults)
    return replace(whole, parameters=_open(whole.parameters, terms))


def _open(parameters: Mapping[str, Any], terms: Terms) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in {*terms.locked, *terms.hidden}}


@dataclass(frozen=True, kw_only=True)
class TemplateDetail:
    """A template with what a caller needs to fill it in."""

    template: Template
    version: int
    """The one that was asked for."""

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
