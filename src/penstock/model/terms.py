"""The terms of a run template: what it says of its runs, which values are not for its callers, and its named sets of values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.errors import InvalidInput, fault, pointer
from penstock.model.configuration import PipelineRunConfiguration, listed
from penstock.model.configuration import said as configuration_said
from penstock.model.exact import Exact
from penstock.model.graph import Graph, Invocation
from penstock.model.limits import Limits
from penstock.model.limits import said as limits_said


@dataclass(frozen=True, kw_only=True)
class Terms(Exact):
    """One document, kept with the template and meant to be kept in a repository too. It holds for all versions.

    A run has, each over the one before: what its snapshot says, `defaults`, the preset that it asked for, what the caller
    gave, `locked`.
    """

    defaults: PipelineRunConfiguration = field(default_factory=PipelineRunConfiguration)
    """What holds for every run unless somebody says otherwise: values, tags, a timeout, retries."""

    presets: dict[str, PipelineRunConfiguration] = field(default_factory=dict)
    """Named sets of values, of which a caller may ask for one: `preset: production`."""

    locked: dict[str, Any] = field(default_factory=dict)
    """Parameters of the pipeline with the value that they always have: nobody may give another."""

    hidden: tuple[str, ...] = ()
    """Parameters that callers are not shown and cannot give; each needs a default, here or in the code."""

    limits: Limits | None = None
    """How many of its runs may go on, wait and come in."""

    price_per_hour: float | None = None
    """What an hour of one of its runs costs, where that is not what the installation says of all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", listed(self.hidden))
        price = self.price_per_hour
        if price is not None and not 0 <= price < math.inf:
            mistake = fault(pointer("price_per_hour"), "It is a number from 0 on.")
            raise InvalidInput("This is no price.", errors=[mistake])


def said(terms: Terms) -> dict[str, Any]:
    """The terms as a mapping, without what they leave open: what a person would write."""
    whole = {
        "defaults": configuration_said(terms.defaults),
        "presets": {name: configuration_said(preset) for name, preset in terms.presets.items()},
        "locked": terms.locked,
        "hidden": list(terms.hidden),
        "limits": limits_said(terms.limits) if terms.limits else None,
    }
    price = {"price_per_hour": terms.price_per_hour} if terms.price_per_hour is not None else {}
    return {name: value for name, value in whole.items() if value} | price


@dataclass(frozen=True)
class Layer:
    """What somebody says of a run: who, in words for the record, and where their mistakes are pointed to."""

    origin: str
    configuration: PipelineRunConfiguration
    at: tuple[str, ...] = ()
    held: bool = False
    """It says what a run had already: the terms are not held against that."""


def visible(schema: Mapping[str, Any], terms: Terms) -> dict[str, Any]:
    """The parameter schema as callers of the template see it: hidden ones left out, locked ones constant, with its defaults."""
    values = {**terms.defaults.parameters, **terms.locked}
    properties = {}
    for name, described in schema.get("properties", {}).items():
        if name in terms.hidden:
            continue
        shown = {**described, "default": values[name]} if name in values else described
        properties[name] = {**shown, "const": terms.locked[name], "readOnly": True} if name in terms.locked else shown
    required = [name for name in schema.get("required", ()) if name in properties and name not in values]
    rest = {key: value for key, value in schema.items() if key != "required"}
    return {**rest, "properties": properties} | ({"required": required} if required else {})


def refused(terms: Terms, graph: Graph, layer: Layer) -> list[dict[str, Any]]:
    """What a layer gives although the terms do not leave it to anybody; the locked value itself may be given again."""
    given = layer.configuration
    faults = [
        fault(pointer(*layer.at, "parameters", name), _LOCKED.format(terms.locked[name]))
        for name, value in given.parameters.items()
        if name in terms.locked and value != terms.locked[name]
    ]
    for step, said in given.steps.items():
        invocation = graph.invocation(step)
        closed = kept_back(terms, graph, invocation) if invocation is not None else ()
        for name in said.parameters:
            at = pointer(*layer.at, "steps", step, "parameters", name)
            if graph.dynamic and (terms.locked or terms.hidden):
                faults.append(fault(at, _DYNAMIC))
            elif name in closed:
                faults.append(fault(at, "This is a parameter that the template keeps to itself."))
    return faults


def kept_back(terms: Terms, graph: Graph, invocation: Invocation) -> set[str]:
    """The arguments of a step that nobody may give, since that would go round a locked or hidden parameter."""
    closed = {*terms.locked, *terms.hidden}
    if closed and graph.dynamic:
        return {*invocation.inputs, *invocation.schema.get("properties", {})}
    return {argument for name in closed for argument in invocation.forwards(name)}


_LOCKED = "The template has this locked to {!r}: leave it out."
_DYNAMIC = (
    "The template keeps parameters to itself, and this pipeline decides while it runs which steps they reach: values of "
    "single steps cannot be given."
)
