"""What a caller gave, held against what a snapshot takes: the effective values, where each came from, or every mistake."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from penstock.errors import InvalidInput, fault, pointer, unescaped
from penstock.model.check import schema_faults
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration, laid_over
from penstock.model.graph import Invocation
from penstock.model.run import Run
from penstock.model.snapshot import Snapshot
from penstock.model.terms import Layer, Terms, refused, visible

_NOTHING = PipelineRunConfiguration()


@dataclass(frozen=True, kw_only=True)
class Effective:
    """What a run will use. `origins` maps the JSON pointer of each value to where it came from."""

    configuration: PipelineRunConfiguration
    """What was said of the run, over what the snapshot says of all its runs."""

    parameters: dict[str, Any]
    step_parameters: dict[str, dict[str, Any]]
    origins: dict[str, str]


def layers(
    terms: Terms, given: PipelineRunConfiguration, *, at: tuple[str, ...] = (), revision: int | None = None
) -> list[Layer]:
    """What a template's terms and a caller say of a run, in the order in which they lie over each other.

    Values of a preset name the `revision` of the terms: it may say otherwise by tomorrow. Raises `InvalidInput` if the
    caller asks for a preset that there is not.
    """
    said = [Layer("template", terms.defaults, ("terms", "defaults"))]
    if given.preset is not None:
        if given.preset not in terms.presets:
            known = tuple(terms.presets)
            mistake = fault(pointer(*at, "preset"), "There is no such preset.", allowed=known, given=given.preset)
            raise InvalidInput(f"The template has no preset '{given.preset}'.", errors=[mistake])
        preset = terms.presets[given.preset]
        origin = f"preset {given.preset}" + (f", revision {revision}" if revision is not None else "")
        said.append(Layer(origin, preset, ("terms", "presets", given.preset)))
    return [*said, Layer("request", given, at)]


def resolve(
    snapshot: Snapshot,
    given: PipelineRunConfiguration,
    terms: Terms | None = None,
    *,
    under: Layer | None = None,
    at: tuple[str, ...] = (),
    revision: int | None = None,
) -> Effective:
    """Lay what `terms`, of this `revision`, and a caller say over what `snapshot` says, values and all else.

    `under` lies directly under what the caller says. Raises `InvalidInput` with all mistakes at once; those of the caller are pointed to below `at`.
    """
    if terms is None and given.preset is not None:
        mistake = fault(pointer(*at, "preset"), "Presets belong to run templates: trigger one, or give the values.")
        raise InvalidInput("Only a run template has presets.", errors=[mistake])
    terms = terms or Terms()
    schema = snapshot.content.parameter_schema
    said, origins = snapshot.content.given, _origins(snapshot.content.given, "snapshot")
    faults: list[dict[str, Any]] = []
    said_of_it = layers(terms, given, at=at, revision=revision)
    for layer in said_of_it if under is None else [*said_of_it[:-1], under, said_of_it[-1]]:
        if layer.configuration == _NOTHING:
            continue
        faults += _layer_faults(snapshot, terms, layer)
        said, origins = _without_outdone(snapshot, said, origins, layer.configuration)
        said, origins = laid_over(said, layer.configuration), origins | _origins(layer.configuration, layer.origin)
    if terms.locked:
        locked = PipelineRunConfiguration(parameters=dict(terms.locked))
        said, origins = _without_outdone(snapshot, said, origins, locked)
        said, origins = laid_over(said, locked), origins | _origins(locked, "lock")
    return _effective(snapshot, said, origins, faults, visible(schema, terms))


def _layer_faults(snapshot: Snapshot, terms: Terms, layer: Layer) -> list[dict[str, Any]]:
    """What is wrong with the values of one layer. Callers learn nothing of parameters that are hidden from them."""
    schema, given = snapshot.content.parameter_schema, layer.configuration
    unseen = terms.hidden if layer.origin == "request" else ()
    faults = [
        *_pipeline_faults(schema, given.parameters, unseen),
        *_step_faults(snapshot, {step: one.parameters for step, one in given.steps.items()}),
    ]
    own = [{**one, "pointer": pointer(*layer.at) + one["pointer"]} for one in faults]
    return own if layer.held else own + refused(terms, snapshot.content.graph, layer)


def _without_outdone(
    snapshot: Snapshot, said: PipelineRunConfiguration, origins: dict[str, str], above: PipelineRunConfiguration
) -> tuple[PipelineRunConfiguration, dict[str, str]]:
    """`said` without values of steps for which `above` gives the parameter that the step is passed: it comes later."""
    gone = [
        (one.id, argument)
        for one in snapshot.content.graph.invocations
        if one.id in said.steps
        for parameter in above.parameters
        for argument in one.forwards(parameter)
        if argument in said.steps[one.id].parameters
    ]
    if not gone:
        return said, origins
    steps = dict(said.steps)
    for step, argument in gone:
        kept = {name: value for name, value in steps[step].parameters.items() if name != argument}
        steps[step] = replace(steps[step], parameters=kept)
    lost = {pointer("steps", step, "parameters", argument) for step, argument in gone}
    return replace(said, steps=steps), {at: origin for at, origin in origins.items() if at not in lost}


def _effective(
    snapshot: Snapshot,
    said: PipelineRunConfiguration,
    origins: dict[str, str],
    faults: list[dict[str, Any]],
    seen: Mapping[str, Any],
) -> Effective:
    """The values with those in their places that nobody gave. `seen` is the schema as callers know it."""
    schema, origin = snapshot.content.parameter_schema, "request"
    tags = (*snapshot.content.configuration.tags, *said.tags)
    steps, values = _step_values(said), dict(said.parameters)
    faults = faults + _missing_arguments(snapshot, steps)
    for name, described in schema.get("properties", {}).items():
        if name in values:
            continue
        if "default" in described:
            values[name], origins[pointer("parameters", name)] = described["default"], "default"
            continue
        lifted = _lifted(snapshot, name, steps)
        if lifted is None:
            where = () if name in seen["properties"] else ("terms", "defaults")
            told = "This parameter has no default: a value is needed."
            faults.append(fault(pointer(*where, "parameters", name), told))
        else:
            step, argument = lifted
            values[name] = steps[step][argument]
            origins[pointer("parameters", name)] = f"{origin} (steps.{step}.parameters.{argument})"
    if faults:
        count = "one mistake" if len(faults) == 1 else f"{len(faults)} mistakes"
        raise InvalidInput(
            f"The input for pipeline '{snapshot.content.pipeline}' has {count}; nothing was started.", errors=faults
        )
    return Effective(
        parameters=values,
        step_parameters=steps,
        origins=origins,
        configuration=replace(said, tags=tuple(dict.fromkeys(tags))),
    )


def check_given(snapshot: Snapshot) -> None:
    """Hold what a snapshot says of its runs against its own pipeline. Raises `InvalidInput` like `resolve`."""
    given = snapshot.content.given
    steps = {step: one.parameters for step, one in given.steps.items()}
    faults = [*_pipeline_faults(snapshot.content.parameter_schema, given.parameters), *_step_faults(snapshot, steps)]
    if given.preset is not None:
        faults.append(fault(pointer("preset"), "Presets belong to run templates, and no template is named here."))
    if faults:
        raise InvalidInput(f"The options of pipeline '{snapshot.content.pipeline}' do not fit it.", errors=faults)


def given_of(run: Run) -> PipelineRunConfiguration:
    """What the caller of a run gave: its values, and the preset that was asked for."""
    asked = [at.split("/")[1:] for at, origin in run.origins.items() if origin == "request"]
    paths = [[unescaped(part) for part in path] for path in asked]
    steps: dict[str, dict[str, Any]] = {}
    for path in paths:
        if path[0] == "steps":
            steps.setdefault(path[1], {})[path[3]] = run.step_parameters[path[1]][path[3]]
    return PipelineRunConfiguration(
        parameters={path[1]: run.parameters[path[1]] for path in paths if path[0] == "parameters"},
        steps={step: StepConfiguration(parameters=values) for step, values in steps.items()},
        preset=run.configuration.preset,
    )


def check_terms(snapshot: Snapshot, terms: Terms) -> None:
    """Hold the terms of a template against one of its versions: every value fits, nothing contradicts itself.

    Raises `InvalidInput` with all mistakes, pointed to below `/terms`.
    """
    schema = snapshot.content.parameter_schema
    known = list(schema.get("properties", {}))
    faults = [
        {**one, "pointer": pointer("terms", "locked") + one["pointer"].removeprefix("/parameters")}
        for one in _pipeline_faults(schema, terms.locked)
    ]
    faults += [
        fault(pointer("terms", "hidden", index), "The pipeline has no such parameter.", allowed=known, given=name)
        for index, name in enumerate(terms.hidden)
        if name not in known
    ]
    said: dict[tuple[str, ...], PipelineRunConfiguration] = {("terms", "defaults"): terms.defaults}
    said |= {("terms", "presets", name): preset for name, preset in terms.presets.items()}
    for at, configuration in said.items():
        faults += _layer_faults(snapshot, terms, Layer("terms", configuration, at))
        if configuration.preset is not None:
            faults.append(fault(pointer(*at, "preset"), "Terms cannot ask for a preset."))
    valued = {*terms.locked, *terms.defaults.parameters, *snapshot.content.given.parameters}
    for index, name in enumerate(terms.hidden):
        if name in known and name not in valued and "default" not in schema["properties"][name]:
            told = "Nobody could give it: lock it, or give it a default in the terms."
            faults.append(fault(pointer("terms", "hidden", index), told))
    parameter = terms.limits.parameter if terms.limits else None
    if parameter is not None and parameter not in known:
        told = "The pipeline has no such parameter."
        at = ("terms", "limits", "concurrency_key")
        allowed = [f"parameters.{name}" for name in known]
        faults.append(fault(pointer(*at), told, allowed=allowed, given=f"parameters.{parameter}"))
    if faults:
        raise InvalidInput("These terms do not fit the template; nothing was changed.", errors=faults)


def _step_values(said: PipelineRunConfiguration) -> dict[str, dict[str, Any]]:
    return {step: dict(one.parameters) for step, one in said.steps.items() if one.parameters}


def _origins(said: PipelineRunConfiguration, origin: str) -> dict[str, str]:
    flat = {pointer("parameters", name): origin for name in said.parameters}
    for step, values in _step_values(said).items():
        flat |= {pointer("steps", step, "parameters", name): origin for name in values}
    return flat


def _pipeline_faults(
    schema: Mapping[str, Any], given: Mapping[str, Any], unseen: Collection[str] = ()
) -> list[dict[str, Any]]:
    allowed = [name for name in schema.get("properties", {}) if name not in unseen]
    unknown = [
        fault(pointer("parameters", name), "The pipeline has no such parameter.", allowed=allowed, given=name)
        for name in given
        if name not in allowed
    ]
    return unknown + schema_faults(schema, {k: v for k, v in given.items() if k in allowed}, ("parameters",))


def _step_faults(snapshot: Snapshot, steps: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    graph, faults = snapshot.content.graph, []
    known = [invocation.id for invocation in graph.invocations]
    for step, given in steps.items():
        invocation = graph.invocation(step)
        if invocation is not None:
            faults += _argument_faults(invocation, given)
        elif not graph.dynamic:  # a dynamic graph may still come to this step; the run says so if it does not
            faults.append(fault(pointer("steps", step), "The pipeline has no such step.", allowed=known, given=step))
    return faults


def _missing_arguments(snapshot: Snapshot, steps: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Arguments of steps that the pipeline leaves to whoever starts it, and that nobody gave."""
    faults = []
    for one in snapshot.content.graph.invocations:
        given = steps.get(one.id, {})
        faults += [
            fault(pointer("steps", one.id, "parameters", name), "The pipeline leaves this to you: a value is needed.")
            for name in one.schema.get("required", ())
            if name not in one.inputs and name not in given
        ]
    return faults


def _argument_faults(invocation: Invocation, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    at = ("steps", invocation.id, "parameters")
    properties = invocation.schema.get("properties", {})
    computed = {
        name: binding
        for name, binding in invocation.inputs.items()
        if any(leaf.kind == "output" for leaf in binding.leaves())
    }
    allowed = [name for name in properties if name not in computed]
    faults = []
    for name in given:
        if name in computed:
            sources = ", ".join(sorted({leaf.step for leaf in computed[name].leaves() if leaf.step}))
            faults.append(fault(pointer(*at, name), f"This input is made by step {sources}; it is no parameter."))
        elif name not in allowed:
            faults.append(fault(pointer(*at, name), "The step has no such parameter.", allowed=allowed, given=name))
    return faults + schema_faults(invocation.schema, {k: v for k, v in given.items() if k in allowed}, at)


def _lifted(snapshot: Snapshot, parameter: str, steps: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    """Where step-level values stand in for a missing pipeline parameter: every use of it must be given, and alike."""
    if snapshot.content.graph.dynamic:
        return None
    uses = [(one.id, argument) for one in snapshot.content.graph.invocations for argument in one.forwards(parameter)]
    given = [steps[step][argument] for step, argument in uses if argument in steps.get(step, {})]
    if not uses or len(given) != len(uses) or any(value != given[0] for value in given):
        return None
    return uses[0]
