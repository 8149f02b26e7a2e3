"""Tracing: call the pipeline function with markers in the place of its parameters, and write down what it does."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from penstock.author.bindings import binding_of
from penstock.author.composer import composer
from penstock.author.handle import Handle
from penstock.author.invocations import InvocationIds
from penstock.author.markers import PipelineParameter, ShapeDecided
from penstock.author.pipeline import Pipeline
from penstock.author.schema import step_schema
from penstock.author.signature import plain
from penstock.author.step import Step
from penstock.author.text import source_text
from penstock.author.unseen import unseen
from penstock.errors import AuthoringError, fault
from penstock.ids import digest_of
from penstock.model.graph import Graph, Invocation

MOST_INVOCATIONS = 10_000
"""A pipeline that makes more is taken for one that would never end."""


def trace(pipeline: Pipeline) -> Graph:
    """The graph of `pipeline`: its invocations, and for every argument where it comes from.

    A parameter that the function only passes on gives edges. One that it computes on decides the shape: the graph is
    then `dynamic`, traced again with that parameter's default as an ordinary value; without a default, or where a
    result decides, it holds what was seen up to there. Raises `AuthoringError` if the function itself raises. Thread
    safe.
    """
    defaults = pipeline.signature.defaults
    deciding = unseen(pipeline)
    reasons = [_decides(name) for name in deciding]
    real = {name: defaults[name] for name in deciding if name in defaults}
    while True:
        seen = _pass(pipeline, real)
        if seen.reason is not None:
            reasons.append(seen.reason)
        fresh = {name: defaults[name] for name in seen.wanted if name in defaults and name not in real}
        if not fresh:
            break
        real |= fresh
    if seen.error is not None and not _computes(seen.error):
        raise _blamed(pipeline, seen.error) from seen.error
    return Graph(
        invocations=tuple(seen.tracer.invocations),
        outputs={name: binding_of(value) for name, value in pipeline.outputs(seen.returned).items()},
        dynamic=bool(reasons),
        dynamic_reason="; ".join(dict.fromkeys(reasons)) or None,
    )


class Tracer:
    """The composer of one pass: records every call, carries out none."""

    def __init__(self) -> None:
        self.invocations: list[Invocation] = []
        self.stopped: ShapeDecided | None = None
        self.wanted: tuple[str, ...] = ()
        """The parameter whose value was wanted, if that is what stopped this pass."""

        self._ids = InvocationIds()

    def submit(
        self,
        step: Step,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        id: str | None,
        after: tuple[str | Handle, ...],
    ) -> Handle | tuple[Handle, ...] | None:
        """Record the call. Once the pass is stopped it stays so, whatever the function catches."""
        if self.stopped is not None:
            raise self.stopped
        if len(self.invocations) == MOST_INVOCATIONS:
            self._stop(f"the function makes more than {MOST_INVOCATIONS} invocations")
        inputs = {name: binding_of(value) for name, value in step.bind(args, kwargs, partial=True).items()}
        computed = {name for name, binding in inputs.items() if any(leaf.kind == "output" for leaf in binding.leaves())}
        earlier = tuple(dict.fromkeys(self._known(step, one) for one in after))
        invocation = Invocation(
            id=self._ids.allocate(step.name, id),
            step=step.name,
            source=step.source,
            inputs=inputs,
            outputs=step.described_outputs(),
            after=earlier,
            schema=step_schema(step, without=computed),
            configuration=step.configuration if step.options is not None else None,
            code=_code(step),
        )
        self.invocations.append(invocation)
        return step.handles(invocation.id, self)

    def load(self, handle: Handle) -> NoReturn:
        """Nothing has run, so there is no value: what the function does next is for the run to see."""
        self._stop(f"the result of step '{handle.step}' decides the shape")

    def noticed(self, parameter: str) -> NoReturn:
        """The value of `parameter` was wanted."""
        self.wanted = self.wanted or (parameter,)
        self._stop(_decides(parameter))

    def _stop(self, reason: str) -> NoReturn:
        self.stopped = self.stopped or ShapeDecided(reason)
        raise self.stopped

    def _known(self, step: Step, after: str | Handle) -> str:
        wanted = after.step if isinstance(after, Handle) else after
        known = [invocation.id for invocation in self.invocations]
        if wanted not in known:
            mistake = fault("", "No step of this id was called before.", allowed=known, given=wanted)
            raise AuthoringError(f"Step {step.name} is called with after={wanted!r}.", errors=[mistake])
        return wanted


@dataclass(frozen=True)
class _Pass:
    """How one pass ended. `wanted`: the parameters whose values would lead further; `reason`: why it is not the whole."""

    tracer: Tracer
    returned: Any = None
    wanted: Collection[str] = ()
    reason: str | None = None
    error: Exception | None = None


def _pass(pipeline: Pipeline, real: Mapping[str, Any]) -> _Pass:
    """Call the function once, with markers for all parameters but those in `real`."""
    tracer = Tracer()
    markers = {name: PipelineParameter(name, tracer.noticed) for name in pipeline.parameters() if name not in real}
    token = composer.set(tracer)
    returned, error = None, None
    try:
        returned = pipeline.function(**markers, **real)
    except ShapeDecided as signal:
        tracer.stopped = tracer.stopped or signal
    except AuthoringError:
        raise
    except Exception as raised:  # noqa: BLE001 - user code may raise anything; it is judged below
        error = raised
    finally:
        composer.reset(token)
    if tracer.stopped is not None:
        return _Pass(tracer, wanted=tracer.wanted, reason=str(tracer.stopped))
    if error is not None:
        # Some C functions tell the type of an argument without asking it (`"x" in "text"`): real values show whether
        # the function failed for that reason or for one of its own.
        return _Pass(tracer, wanted=tuple(markers), reason="the function computes on its parameters", error=error)
    return _Pass(tracer, returned)


def _code(step: Step) -> str | None:
    text = source_text(step.function)
    return None if text is None else digest_of(text.encode())


def _decides(parameter: str) -> str:
    return f"parameter '{parameter}' decides the shape"


def _computes(error: BaseException | None) -> bool:
    """Whether `error` came from a marker where a value was needed."""
    while error is not None:
        try:
            text = str(error)
        except ShapeDecided:  # the marker itself stands in the message
            return True
        if isinstance(error, TypeError) and PipelineParameter.__name__ in text:
            return True
        error = error.__cause__ or error.__context__
    return False


def _blamed(pipeline: Pipeline, error: Exception) -> AuthoringError:
    """The error of the user's function, with the line of the function that it came from."""
    inner = plain(pipeline.function)
    assert inner is not None
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if frame.filename == inner.__code__.co_filename), frames[-1])
    return AuthoringError(
        f"Pipeline {pipeline.name} raised {type(error).__name__} while it was traced, before any step ran: {error}\n"
        f"  {frame.filename}, line {frame.lineno}: {frame.line}\n"
        "A pipeline function only connects steps; what works on data belongs into a step."
    )
