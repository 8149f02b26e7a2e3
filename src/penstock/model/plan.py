"""What a run would do, before it is started: which steps would be carried out, which taken from the cache, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from penstock.ids import digest_of
from penstock.model.artifact import FROZEN, Artifact, is_reference
from penstock.model.cache import Found, canonical, digest, explain, key_of, shown
from penstock.model.configuration import CachePolicy, StepConfiguration, for_step
from penstock.model.cost import Cost
from penstock.model.graph import Binding, Invocation
from penstock.model.requirements import Requirements
from penstock.model.snapshot import Content

if TYPE_CHECKING:
    from penstock.model.inputs import Effective  # it loads a validator, and clients read plans

Verdict = Literal["run", "cached", "unknown"]


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """What would become of one step. `unknown`: it hangs on something that only the run itself can tell."""

    step: str
    verdict: Verdict
    reason: str
    from_run: str | None = None
    """Of a cached one: the run that made the results."""

    seconds: float | None = None
    """What it took lately, where it was carried out."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the run would stand if it was triggered now."""

    ahead: int
    """Runs that are queued already."""

    running: int
    slots: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a trigger would do. Nothing was started, and nothing is reserved."""

    template: str | None
    version: int | None
    snapshot_id: str
    parameters: dict[str, Any]
    step_parameters: dict[str, dict[str, Any]]
    origins: dict[str, str]
    steps: tuple[PlannedStep, ...]
    dynamic: bool
    """The pipeline decides its steps while it runs: there may be others."""

    place: Place
    requires: Requirements | None = None
    """What the code needs of the Python that runs it, if that was declared."""

    seconds: float | None
    """What such runs took lately; None if none has completed."""

    samples: int
    """So many runs that is drawn from."""

    cost: Cost | None = None
    """Of such a run; None if its time or its price is not known."""

    token: str
    """Given back with a trigger: it is refused if anything of this would be different then."""


@dataclass(frozen=True)
class Known:
    """How a step that is planned finds what earlier runs left."""

    ask: Callable[[str, str, float | None], Found]
    """By the step's name, the key, and the age in seconds that is too old."""

    artifact: Callable[[str], Artifact]
    """The record of an artifact, by its id."""


class _Untold(Exception):
    """There is no telling before the run; the text says why."""


def planned(content: Content, effective: Effective, known: Known) -> list[PlannedStep]:
    """What would become of each step that the graph shows, in the order in which they are called."""
    foresight = _Foresight(content, effective, known)
    return [foresight.judged(one) for one in content.graph.invocations]


class _Foresight:
    """Goes through the steps in order; the outputs of those that would be taken from the cache are known to the next."""

    def __init__(self, content: Content, effective: Effective, known: Known) -> None:
        self._content = content
        self._effective = effective
        self._known = known
        self._properties = content.parameter_schema.get("properties", {})
        self._made: dict[tuple[str, str], Artifact] = {}

    def judged(self, one: Invocation) -> PlannedStep:
        """What would become of this step."""
        code = one.configuration or StepConfiguration()
        said = for_step(self._content.configuration, code, self._effective.configuration, one.id)
        wanted = said.enable_cache if said.enable_cache is not None else said.cache_policy is not None
        if not wanted:
            return PlannedStep(step=one.id, verdict="run", reason="Nobody asked for the cache.")
        policy = said.cache_policy or CachePolicy()
        try:
            parts = dict(self._parts(one, policy))
        except _Untold as reason:
            return PlannedStep(step=one.id, verdict="unknown", reason=str(reason))
        found = self._known.ask(one.step, key_of(one.step, parts), policy.expires_after)
        told = explain(shown(parts), found)
        if found.hit is None:
            return PlannedStep(step=one.id, verdict="run", reason=told)
        self._made |= {(one.id, name): artifact for name, artifact in found.hit.outputs.items()}
        return PlannedStep(step=one.id, verdict="cached", reason=told, from_run=found.hit.run_name)

    def _parts(self, one: Invocation, policy: CachePolicy) -> Iterator[tuple[str, str]]:
        """The parts that the run will find, as far as they can be told from here."""
        for what in ("file_dependencies", "source_dependencies", "cache_func"):
            if getattr(policy, what):
                raise _Untold(f"Its cache policy has {what}, which only the run can look at.")
        if policy.include_step_code:
            if one.code is None:
                raise _Untold("Its source was not at hand when it was frozen.")
            yield "code", one.code
        yield "outputs", digest([(output.name, output.type) for output in one.outputs])
        given = self._effective.step_parameters.get(one.id, {})
        described = one.schema.get("properties", {})
        defaults = {name: value["default"] for name, value in described.items() if "default" in value}
        for name in dict.fromkeys((*defaults, *one.inputs, *given)):
            if name in policy.ignored_inputs:
                continue
            binding = one.inputs.get(name)
            if name not in given and binding is not None and self._is_input(binding):
                if policy.include_artifact_values or policy.include_artifact_ids:
                    yield f"input {name}", digest(self._with_digests(binding, policy))
            elif policy.include_step_parameters:
                value = given[name] if name in given else self._value(binding) if binding else defaults[name]
                yield f"parameter {name}", digest_of(canonical(value).encode())
        if self._content.environment.requires is not None:
            yield "requirements", self._content.environment.requires.digest()

    def _is_input(self, binding: Binding) -> bool:
        return any(leaf.kind == "output" or self._is_artifact(leaf) for leaf in binding.leaves())

    def _is_artifact(self, leaf: Binding) -> bool:
        return leaf.kind == "parameter" and is_reference(self._properties.get(leaf.name, {}))

    def _with_digests(self, binding: Binding, policy: CachePolicy) -> Any:
        """The argument with what identifies an artifact in the place of each one."""
        if binding.kind == "items":
            items = [self._with_digests(one, policy) for one in binding.items]
            return dict(zip(binding.keys, items, strict=True)) if binding.keys else items
        if binding.kind == "output" or self._is_artifact(binding):
            artifact = self._artifact(binding)
            if artifact is not None:
                values = policy.include_artifact_values
                return [artifact.digest if values else None] + ([artifact.id] if policy.include_artifact_ids else [])
        return canonical(self._value(binding))

    def _artifact(self, binding: Binding) -> Artifact | None:
        """The artifact that an argument will be; None for a parameter that may be one and is none."""
        if binding.kind == "output":
            made = self._made.get((str(binding.step), str(binding.output)))
            if made is None:
                raise _Untold(f"It hangs on what step {binding.step} will make.")
            return made
        given = self._effective.parameters.get(str(binding.name))
        return self._known.artifact(given.removeprefix(FROZEN)) if isinstance(given, str) else None

    def _value(self, binding: Binding) -> Any:
        """The value that the pipeline function will pass."""
        if binding.kind == "value":
            return binding.value
        if binding.kind == "items":
            items = [self._value(one) for one in binding.items]
            return dict(zip(binding.keys, items, strict=True)) if binding.keys else items
        if binding.kind == "parameter":
            name = str(binding.name)
            return _converted(self._effective.parameters.get(name), self._properties.get(name, {}), name)
        raise _Untold("It is given something that has no form as JSON.")


_PLAIN = {"type", "title", "description", "default", "examples", "enum", "const", "items", "additionalProperties"}


def _converted(value: Any, schema: Any, name: str) -> Any:
    """The value as the code will have it, where that can be told from the schema: a number as a float, and so on."""
    if schema in ({}, True) or value is None:
        return value
    if "anyOf" in schema:
        kinds = [one for one in schema["anyOf"] if one != {"type": "null"}]
        if len(kinds) == 1:
            return _converted(value, kinds[0], name)
    bounds = {key for key in schema if key.lower().startswith(("min", "max", "exclusive", "multiple"))}
    kind = schema.get("type")
    if schema.keys() - _PLAIN - bounds or (kind is None and not schema.keys() & {"enum", "const"}):
        raise _Untold(f"Parameter '{name}' is of a type that only the code knows.")
    if kind == "array":
        return [_converted(one, schema.get("items", {}), name) for one in value]
    if kind == "object":
        return {key: _converted(one, schema.get("additionalProperties", {}), name) for key, one in value.items()}
    return float(value) if kind == "number" else int(value) if kind == "integer" else value
