"""Two runs side by side: what they were given, what they did, what came of it, and what it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.model.cache import canonical
from penstock.model.configuration import said
from penstock.model.difference import Change
from penstock.model.run import Run, StepRun

Topic = Literal["result", "parameter", "input", "step", "metric", "output", "option", "time"]


@dataclass(frozen=True, kw_only=True)
class Unlike:
    """One thing in which two runs differ. None stands for something that one of them does not have."""

    topic: Topic
    name: str
    before: Any = None
    after: Any = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs side by side: of their code and environment, then of the runs themselves."""

    before: str
    after: str
    versions: tuple[Change, ...] = ()
    """What is different between their snapshots."""

    differences: tuple[Unlike, ...] = ()


@dataclass(frozen=True)
class Facts:
    """A run with its steps by invocation id, and the digests of the artifacts that they took and made, by id."""

    run: Run
    steps: Mapping[str, StepRun]
    digests: Mapping[str, str] = field(default_factory=dict)


def differences(before: Facts, after: Facts) -> list[Unlike]:
    """Everything in which the two differ; times are told where one took at least a tenth longer than the other."""
    found = [*_results(before, after), *_values(before, after), *_options(before, after)]
    for step in [*before.steps, *(one for one in after.steps if one not in before.steps)]:
        found += _steps(before, after, step)
    return [*found, *_times(before, after)]


def _results(before: Facts, after: Facts) -> Iterator[Unlike]:
    yield from _unlike("result", {"state": str(before.run.state)}, {"state": str(after.run.state)})
    yield from _unlike("result", _error(before.run), _error(after.run))
    yield from _unlike("output", _outputs(before), _outputs(after))
    yield from _unlike("metric", before.run.metadata, after.run.metadata)


def _error(run: Run) -> dict[str, Any]:
    return {"error": f"{run.error.type}: {run.error.message}"} if run.error else {}


def _outputs(facts: Facts) -> dict[str, Any]:
    """The outputs; artifacts by what is in them, since every run makes new ones."""
    outputs = facts.run.outputs or {}
    return {name: _content(value, facts.digests) for name, value in outputs.items()}


def _content(value: Any, digests: Mapping[str, str]) -> Any:
    if isinstance(value, dict) and value.keys() == {"artifact", "type"}:
        return {"digest": digests.get(value["artifact"], "unknown"), "type": value["type"]}
    if isinstance(value, dict):
        return {key: _content(item, digests) for key, item in value.items()}
    return [_content(item, digests) for item in value] if isinstance(value, list) else value


def _values(before: Facts, after: Facts) -> Iterator[Unlike]:
    """Parameters that differ in value, or in who gave it."""
    old, new = _given(before.run), _given(after.run)
    for name in [*old, *(one for one in new if one not in old)]:
        (value, origin), (other, other_origin) = old.get(name, (None, None)), new.get(name, (None, None))
        if not _same(value, other) or (name in old) != (name in new):
            note = f"{origin or 'not there'} -> {other_origin or 'not there'}"
            yield Unlike(topic="parameter", name=name, before=value, after=other, note=note)
        elif origin != other_origin:
            yield Unlike(topic="parameter", name=name, before=value, after=other, note=f"{origin} -> {other_origin}")


def _given(run: Run) -> dict[str, tuple[Any, str | None]]:
    flat = {name: (value, run.origins.get(f"/parameters/{name}")) for name, value in run.parameters.items()}
    for step, values in run.step_parameters.items():
        for name, value in values.items():
            flat[f"{step}.{name}"] = (value, run.origins.get(f"/steps/{step}/parameters/{name}"))
    return flat


def _options(before: Facts, after: Facts) -> Iterator[Unlike]:
    yield from _unlike("option", said(before.run.configuration), said(after.run.configuration))
    yield from _unlike("option", {"tags": sorted(before.run.tags)}, {"tags": sorted(after.run.tags)})


def _steps(before: Facts, after: Facts, step: str) -> Iterator[Unlike]:
    old, new = before.steps.get(step), after.steps.get(step)
    if old is None or new is None:
        states = (str(old.state) if old else None, str(new.state) if new else None)
        yield Unlike(topic="step", name=step, before=states[0], after=states[1], note="Only one of them came to it.")
        return
    if old.state != new.state:
        yield Unlike(topic="step", name=step, before=str(old.state), after=str(new.state), note=new.reason)
    inputs = [
        {f"{step}.{name}": facts.digests.get(one, "unknown") for name, one in run.inputs.items()}
        for facts, run in ((before, old), (after, new))
    ]
    yield from _unlike("input", *inputs)
    metrics = [{f"{step}.{name}": value for name, value in run.metadata.items()} for run in (old, new)]
    yield from _unlike("metric", *metrics)


def _times(before: Facts, after: Facts) -> Iterator[Unlike]:
    pairs: list[tuple[str, Run | StepRun, Run | StepRun]] = [("run", before.run, after.run)]
    pairs += [(step, one, after.steps[step]) for step, one in before.steps.items() if step in after.steps]
    for name, old, new in pairs:
        took, takes = _seconds(old), _seconds(new)
        if took is not None and takes is not None and max(took, takes) > 1.1 * min(took, takes):
            yield Unlike(topic="time", name=name, before=took, after=takes)


def _seconds(one: Run | StepRun) -> float | None:
    if one.started is None or one.ended is None:
        return None
    return round((one.ended - one.started).total_seconds(), 6)


def _unlike(topic: Topic, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Unlike]:
    for name in [*before, *(one for one in after if one not in before)]:
        old, new = before.get(name), after.get(name)
        if not _same(old, new) or (name in before) != (name in after):
            yield Unlike(topic=topic, name=name, before=old, after=new)


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; 1, 1.0 and true are three values."""
    return canonical(one) == canonical(other)
