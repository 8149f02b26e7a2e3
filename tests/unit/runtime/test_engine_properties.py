"""Any graph of trivial steps: each step is carried out once, after all that it waits for, with any number of workers."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import pipeline, step
from tests.unit.runtime.benching import Bench


@dataclass(frozen=True)
class Node:
    """One step: which earlier ones it takes values of, which it only comes after, and whether it fails."""

    inputs: tuple[int, ...]
    after: tuple[int, ...]
    fails: bool


@st.composite
def graphs(draw: st.DrawFn, *, failing: bool) -> list[Node]:
    nodes = []
    for number in range(draw(st.integers(1, 25))):
        earlier = st.integers(0, number - 1) if number else st.nothing()
        picks = st.lists(earlier, max_size=4, unique=True) if number else st.just([])
        fails = draw(st.booleans()) if failing else False
        nodes.append(Node(tuple(draw(picks)), tuple(draw(picks)), fails))
    return nodes


class Record:
    """When each step began and ended, on one clock that never stands still."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tick = 0
        self.began: dict[int, list[int]] = {}
        self.ended: dict[int, int] = {}

    def begin(self, number: int) -> None:
        with self._lock:
            self._tick += 1
            self.began.setdefault(number, []).append(self._tick)

    def end(self, number: int) -> None:
        with self._lock:
            self._tick += 1
            self.ended[number] = self._tick


def carried_out(nodes: list[Node], workers: int, mode: Any) -> tuple[Record, Any, dict[int, str]]:
    record = Record()

    @step
    def node(number: int, values: list[int], fails: bool) -> int:
        record.begin(number)
        if fails:
            raise ValueError(number)
        record.end(number)
        return number + sum(values)

    @pipeline(execution_mode=mode)
    def made() -> Any:
        handles: list[Any] = []
        for number, one in enumerate(nodes):
            inputs = [handles[earlier] for earlier in one.inputs]
            ordered = [handles[earlier] for earlier in one.after]
            handles.append(node(number, inputs, one.fails, id=f"n{number}", after=ordered))
        return {f"n{number}": handle for number, handle in enumerate(handles)}

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.workers = workers
        outcome, events = bench.run(made)
    ends = ("step_completed", "step_failed", "step_skipped")
    told = [(int(str(event.step)[1:]), event.type) for event in events if event.type in ends]
    assert len(told) == len(dict(told)) == len(nodes), told  # every step ends, once
    return record, outcome, dict(told)


@settings(max_examples=60, deadline=None)
@given(graphs(failing=False), st.integers(1, 8))
def test_each_step_runs_once_and_after_what_it_waits_for(nodes: list[Node], workers: int) -> None:
    record, outcome, _ = carried_out(nodes, workers, None)
    values: list[int] = []
    for number, one in enumerate(nodes):
        (began,) = record.began[number]
        assert all(record.ended[earlier] < began for earlier in (*one.inputs, *one.after))
        values.append(number + sum(values[earlier] for earlier in one.inputs))
    assert outcome.outputs == {f"n{number}": value for number, value in enumerate(values)}


@settings(max_examples=60, deadline=None)
@given(graphs(failing=True), st.integers(1, 8))
def test_with_failures_all_that_does_not_depend_on_them_is_carried_out(nodes: list[Node], workers: int) -> None:
    record, outcome, told = carried_out(nodes, workers, "continue_on_failure")
    reached: list[bool] = []
    for number, one in enumerate(nodes):
        upstream = {*one.inputs, *one.after}
        runs = all(reached[earlier] and not nodes[earlier].fails for earlier in upstream)
        reached.append(runs)
        expected = "step_skipped" if not runs else "step_failed" if one.fails else "step_completed"
        assert told[number] == expected
        assert len(record.began.get(number, [])) == int(runs)
    any_failed = any(runs and one.fails for runs, one in zip(reached, nodes, strict=True))
    assert (outcome.error is not None) == any_failed
