"""The engine on a real artifact store, with a journal that keeps its events here."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from penstock import pipeline, step
from penstock.errors import AuthoringError, InvalidInput, RunCancelled
from penstock.runtime.engine import Engine
from penstock.runtime.services import Outcome
from tests.unit.runtime.benching import Bench, told


@step
def double(x: int) -> int:
    return 2 * x


@step
def add(x: int, y: int) -> int:
    return x + y


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def fail(x: int) -> int:
    raise ValueError(f"no {x}")


@step
def split(x: int) -> tuple[int, str]:
    return x, str(x)


def test_values_flow_from_step_to_step(bench: Bench) -> None:
    @pipeline
    def made(x: int) -> int:
        return add(double(x), y=double(x))

    outcome, events = bench.run(made, x=3)
    assert outcome == Outcome({"output": 12})
    assert told(events, "double_2") == ["step_declared", "step_started", "artifact", "step_completed"]
    started = next(event for event in events if event.type == "step_started" and event.step == "add")
    kept = {event.step: event.artifact.id for event in events if event.artifact is not None}
    assert started.inputs == {"x": kept["double"], "y": kept["double_2"]}


def test_several_outputs_lists_of_results_and_names(bench: Bench) -> None:
    @pipeline
    def made(n: int) -> Any:
        number, text = split(n, id="halves")
        return {"sum": total([number, double(number), 5]), "text": text, "constant": 7}

    assert bench.run(made, n=4)[0].outputs == {"sum": 17, "text": "4", "constant": 7}


def test_a_pipeline_may_decide_on_values(bench: Bench) -> None:
    @pipeline
    def made(x: int) -> int:
        value = double(x)
        while value.load() < 50:
            value = double(value)
        return value

    outcome, events = bench.run(made, x=3)
    assert outcome.outputs == {"output": 96}
    assert len([event for event in events if event.type == "step_completed"]) == 5


def test_a_step_may_not_change_what_another_one_gets(bench: Bench) -> None:
    @step
    def make() -> list[int]:
        return [1]

    @step
    def spoil(values: list[int]) -> int:
        values.append(100)
        return len(values)

    @pipeline
    def made() -> int:
        values = make()
        return total(values, after=spoil(values))

    assert bench.run(made)[0].outputs == {"output": 1}


def test_values_given_for_a_step_replace_its_constants_and_parameters(bench: Bench) -> None:
    @pipeline
    def made(x: int) -> int:
        return add(double(x), 1)

    outcome, _ = bench.run(made, {"double": {"x": "10"}, "add": {"y": 5}}, x=1)
    assert outcome.outputs == {"output": 25}


@pytest.mark.parametrize(
    ("steps", "pointer"),
    [
        ({"add": {"z": 1}}, "/steps/add/parameters/z"),
        ({"add": {"x": 1}}, "/steps/add/parameters/x"),
        ({"later": {"x": 1}}, "/steps/later"),
        ({"double": {"x": "many"}}, "/steps/double/parameters/x"),
    ],
)
def test_values_that_fit_no_step_fail_the_run(bench: Bench, steps: dict[str, dict[str, Any]], pointer: str) -> None:
    @pipeline
    def made(x: int) -> int:
        return add(double(x), 1)

    raised = bench.run(made, steps, x=1)[0].raised
    assert isinstance(raised, InvalidInput)
    assert raised.errors[0]["pointer"] == pointer


def test_a_failure_skips_what_needs_it_and_starts_nothing_more(bench: Bench) -> None:
    @pipeline
    def made(x: int) -> int:
        bad = fail(x)
        return add(double(bad), double(x, after=bad))

    outcome, events = bench.run(made, x=3)
    assert isinstance(outcome.raised, ValueError)
    assert outcome.error is not None
    assert (outcome.error.step, outcome.error.type, outcome.error.message) == ("fail", "ValueError", "no 3")
    assert told(events, "fail")[-1] == "step_failed"
    assert [told(events, one)[-1] for one in ("double", "double_2", "add")] == ["step_skipped"] * 3


def test_asking_for_a_value_that_never_came_names_the_step_that_failed(bench: Bench) -> None:
    @pipeline
    def made(x: int) -> int:
        return double(fail(x).load())

    outcome, _ = bench.run(made, x=3)
    assert isinstance(outcome.raised, ValueError)


def test_what_the_pipeline_function_raises_fails_the_run(bench: Bench) -> None:
    @pipeline
    def made(x: int) -> int:
        double(x)
        raise KeyError("here")

    outcome, _ = bench.run(made, x=3)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.step) == ("KeyError", None)


def test_an_unknown_predecessor_is_a_mistake(bench: Bench) -> None:
    @pipeline
    def made(x: int) -> int:
        return double(x, after="ghost")

    raised = bench.run(made, x=1)[0].raised
    assert isinstance(raised, AuthoringError)
    assert "ghost" in str(raised)


def test_steps_that_are_ready_run_at_the_same_time(bench: Bench) -> None:
    met = threading.Barrier(3, timeout=20)

    @step
    def meet(x: int) -> int:
        met.wait()
        return x

    @pipeline
    def made() -> int:
        return total([meet(1), meet(2), meet(3)])

    assert bench.run(made)[0].outputs == {"output": 6}


def test_steps_that_follow_one_another_run_in_the_thread_that_called(bench: Bench) -> None:
    threads: list[str] = []

    @step
    def note(x: int) -> int:
        threads.append(threading.current_thread().name)
        return x

    @pipeline
    def made() -> int:
        return note(note(note(1)))

    bench.run(made)
    assert threads == [threading.current_thread().name] * 3


def test_cancelling_ends_a_busy_step_and_starts_no_other(bench: Bench) -> None:
    begun = threading.Event()
    engines: list[Engine] = []

    @step
    def spin(x: int) -> int:
        begun.set()
        while True:
            x += 1

    @pipeline
    def made() -> int:
        return double(spin(1))

    def cancel() -> None:
        begun.wait(20)
        engines[0].cancel()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(cancel)
        outcome, events = bench.run(made, watch=engines.append)
    assert isinstance(outcome.raised, RunCancelled)
    assert told(events, "double")[-1] == "step_skipped"


def test_inside_a_step_other_steps_are_plain_functions(bench: Bench) -> None:
    @step
    def quadruple(x: int) -> int:
        return double(double(x))  # type: ignore[no-any-return]

    @pipeline
    def made(x: int) -> int:
        return quadruple(x)

    outcome, events = bench.run(made, x=2)
    assert outcome.outputs == {"output": 8}
    assert told(events, "double") == []


def test_many_threads_run_one_pipeline_at_once_and_keep_their_values_apart(bench: Bench) -> None:
    @pipeline
    def made(x: int) -> int:
        value = add(double(x), double(x))
        print("value", value.load())
        return value

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda x: bench.run(made, x=x)[0].outputs, range(40)))
    assert outcomes == [{"output": 4 * x} for x in range(40)]


def test_output_belongs_to_the_step_that_wrote_it(bench: Bench) -> None:
    @step
    def speak(word: str) -> str:
        print(word)
        print("loud", word, file=sys.stderr)
        return word

    @pipeline
    def made() -> None:
        speak("a")
        speak("b")

    _, events = bench.run(made)
    lines = {(line.step, line.stream, line.text) for event in events for line in event.lines}
    assert {("speak", "stdout", "a"), ("speak_2", "stdout", "b"), ("speak", "stderr", "loud a")} <= lines


def test_big_results_are_named_by_their_artifact(bench: Bench) -> None:
    @step
    def big() -> str:
        return "x" * 100_000

    @pipeline
    def made() -> str:
        return big()

    outputs = bench.run(made)[0].outputs
    assert outputs is not None
    assert set(outputs["output"]) == {"artifact", "type"}


def test_a_long_chain_that_fails_at_its_beginning_ends(bench: Bench) -> None:
    @pipeline
    def made() -> int:
        value = fail(0)
        for _ in range(3000):
            value = double(value)
        return value

    outcome, events = bench.run(made)
    assert isinstance(outcome.raised, ValueError)
    assert sum(event.type == "step_skipped" for event in events) == 3000


def test_an_interrupt_while_waiting_ends_the_run_when_its_steps_have_ended(bench: Bench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @step
    def wait(x: int) -> int:
        begun.set()
        go_on.wait(20)
        return x

    @pipeline
    def made() -> int:
        value = wait(1)
        assert begun.wait(20)
        threading.Timer(0.05, go_on.set).start()
        signal.raise_signal(signal.SIGINT)
        return double(value)

    outcome, events = bench.run(made)
    assert isinstance(outcome.raised, KeyboardInterrupt)
    assert told(events, "wait")[-1] == "step_completed"


@pytest.mark.parametrize("ends", ["returns", "leaves", "raises"])
def test_a_process_that_a_step_forks_is_no_second_run(bench: Bench, ends: str) -> None:
    @step
    def fork() -> list[int]:
        child = os.fork()
        if child == 0:
            if ends == "leaves":
                sys.exit(3)
            if ends == "raises":
                raise ValueError("in the child only")
            return [-1]
        return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]

    @pipeline
    def made() -> list[int]:
        return fork()

    expected = {"returns": 0, "leaves": 3, "raises": 1}[ends]
    outcome, events = bench.run(made)
    assert outcome.outputs == {"output": [expected]}
    assert told(events, "fork") == ["step_declared", "step_started", "artifact", "step_completed"]
