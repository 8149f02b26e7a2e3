"""The graph of a frozen pipeline: which step is invoked with what, as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal


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
class Output:
    """One named output of a step."""

    name: str
    type: str


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
