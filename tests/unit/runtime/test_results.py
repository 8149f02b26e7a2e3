"""Results of many steps: packed or whole, they are the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest

from penstock import pipeline, step
from penstock.errors import RunCancelled
from penstock.ids import new_id
from penstock.model.artifact import Artifact, File
from penstock.runtime import engine, results
from penstock.runtime.engine import Engine
from penstock.runtime.results import Results
from penstock.runtime.step import Kept
from tests.unit.runtime.benching import Bench


def kept(value: Any, *, size: int = 4, shared: bool = True, foreign: bool = False) -> Kept:
    artifact = Artifact(
        id=new_id(),
        digest="a" * 64,
        files=(File(name="value.json", digest="a" * 64, size=size),),
        size=size,
        type="builtins.int",
        materializer="json",
        metadata={"preview": [1, {"deep": "é"}], "big": 2**70},
        name="scores",
        version="3",
        tags=("x", "y"),
        user_metadata={"note": None},
        run_id=new_id(),
        step="one",
        output="output",
        created=datetime.now(UTC),
    )
    return Kept(artifact, value, shared, foreign)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.setattr(results, "LATEST", 2)
    return Results()


def test_packed_results_are_what_they_were(few: Results) -> None:
    left = {
        f"step_{n}": {"first": kept(n, foreign=n % 2 == 0), "second": kept(None, shared=False), "third": kept(f"é{n}")}
        for n in range(5)
    }
    for invocation, outputs in left.items():
        few.add(invocation, outputs)
    assert {one: {name: few.of(one, name) for name in outputs} for one, outputs in left.items()} == left


def test_a_large_value_is_let_go_of_but_its_record_stays(few: Results) -> None:
    large = kept("x" * 300, size=302)
    for number in range(3):
        few.add(f"step_{number}", {"output": large})
    assert few.of("step_2", "output") == large
    assert few.of("step_0", "output") == Kept(large.artifact)


def test_what_no_step_left_is_not_there(few: Results) -> None:
    few.add("one", {})
    few.add("two", {})
    few.add("three", {})
    for invocation in ("one", "three", "four"):
        with pytest.raises(KeyError):
            few.of(invocation, "output")


def test_values_are_the_same_for_those_who_come_late(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LATEST", 3)

    @step
    def make(n: int) -> tuple[str, list[int]]:
        return "é" * 100 * n, [n]

    @step
    def gather(texts: list[str], lists: list[list[int]]) -> list[int]:
        return [len(text) for text in texts] + [number for numbers in lists for number in numbers]

    @pipeline
    def made() -> list[int]:
        pairs = make.map(list(range(10)))
        return gather([text for text, _ in pairs], [numbers for _, numbers in pairs])

    assert bench.run(made)[0].outputs == {"output": [100 * n for n in range(10)] + list(range(10))}


def test_the_function_helps_out_before_it_may_call_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "OPEN_STEPS", 3)
    open_at_most: list[int] = []
    taken_in = Engine._taken_in

    def watched(self: Engine, *args: Any) -> str:
        open_at_most.append(self._open)
        return taken_in(self, *args)

    monkeypatch.setattr(Engine, "_taken_in", watched)

    @step
    def next_of(n: int) -> int:
        return n + 1

    @pipeline
    def made() -> Any:
        value: Any = 0
        for _ in range(20):  # each waits for the one before: only the first is ready
            value = next_of(value)
        return {"chain": value, "mapped": next_of.map(list(range(20)))[19]}

    assert bench.run(made)[0].outputs == {"chain": 20, "mapped": 20}
    assert max(open_at_most) == 2


def test_a_run_that_is_cancelled_while_the_function_helps_out_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "OPEN_STEPS", 1)
    begun = Event()

    @step
    def wait(n: int) -> int:
        begun.set()
        while n == 0:
            pass
        return n

    @pipeline
    def made() -> Any:
        return wait.map(list(range(5)))[0]

    def cancel(engine: Engine) -> None:
        begun.wait(30)
        engine.cancel()

    with ThreadPoolExecutor() as pool:
        outcome, events = bench.run(made, watch=lambda engine: pool.submit(cancel, engine) and None)
    assert isinstance(outcome.raised, RunCancelled)
    assert not [event for event in events if event.type == "step_completed"]
