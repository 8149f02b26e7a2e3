"""The graph of a frozen pipeline: which step is invoked with what, as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.model.configuration import StepConfiguration, listed


@dataclass(frozen=True, kw_only=True)
class Binding:
    """Where one argument of an invocation comes from.

    `parameter`: the pipeline parameter `name`, forwarded untouched. `output`: output `output` of invocation `step`.
    `value`: the constant `value`. `items`: a list or mapping with at least one of the former inside, in `items`
    (a mapping has its keys in `keys`). `opaque`: something that is not JSON; `type` names it.
    """

    kind: Literal["parameter", "output", "value", "items", "opaque"]
    name: str | None = None
    step: str | None = None
    output: str | None = None
    value: Any = None
    items: tuple[Binding, ...] = ()
    keys: tuple[str, ...] = ()
    type: str | None = None

    def leaves(self) -> Iterator[Binding]:
        """This binding and, for `items`, every binding inside it."""
        yield self
        for item in self.items:
            yield from item.leaves()


@dataclass(frozen=True, kw_only=True)
class ArtifactConfig:
    """How the artifacts of an output are kept: `Annotated[T, ArtifactConfig(name="model", tags=["candidate"])]`.

    `{date}`, `{time}` and the run's substitutions are put into the name. Without a version they are numbered.
    """

    name: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    run_metadata: dict[str, Any] = field(default_factory=dict)
    """What is noted on every one of them, besides what its materializer finds out."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", listed(self.tags))


@dataclass(frozen=True, kw_only=True)
class Output:
    """One named output of a step."""

    name: str
    type: str
    artifact: ArtifactConfig | None = None
    """Under which name its artifacts are kept, if under any."""

    schema: dict[str, Any] | None = None
    """JSON Schema of what stands for it in a run's outputs; None where nobody has looked."""


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One call of a step inside a pipeline. `id` is unique in the graph and is what callers address."""

    id: str
    step: str
    source: str
    inputs: dict[str, Binding] = field(default_factory=dict)
    outputs: tuple[Output, ...] = ()
    after: tuple[str, ...] = ()
    schema: dict[str, Any] = field(default_factory=dict)
    """JSON Schema (type `object`) of the arguments that may be given as JSON."""

    configuration: StepConfiguration | None = None
    """What the code says of the step; None for nothing."""

    code: str | None = None
    """Digest of the source text of the step's function; None where it could not be had."""

    def upstream(self) -> set[str]:
        """The invocations that must end before this one may start."""
        steps = {leaf.step for binding in self.inputs.values() for leaf in binding.leaves() if leaf.step}
        return steps | set(self.after)

    def forwards(self, parameter: str) -> list[str]:
        """The arguments that are the pipeline parameter `parameter`, untouched."""
        return [
            arg for arg, binding in self.inputs.items() if binding.kind == "parameter" and binding.name == parameter
        ]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The invocations of a pipeline in the order in which its function makes them."""

    invocations: tuple[Invocation, ...] = ()
    outputs: dict[str, Binding] = field(default_factory=dict)
    """What the pipeline function returns, by name."""

    dynamic: bool = False
    """The shape depends on parameters or on results: `invocations` is what was seen, a run may differ."""

    dynamic_reason: str | None = None

    def invocation(self, invocation_id: str) -> Invocation | None:
        """The invocation with this id."""
        return next((one for one in self.invocations if one.id == invocation_id), None)
