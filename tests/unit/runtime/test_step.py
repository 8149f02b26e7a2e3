"""What can be said of a step, carried out: retries, times, hooks, coroutines, generators, environment, context."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from penstock import pipeline, step
from penstock.errors import RunCancelled
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration, StepRetryConfig
from penstock.runtime.context import NoStep, get_step_context
from tests.unit.runtime.benching import Bench, printed, told


class Trouble(ConnectionError):
    """An error of the user's own."""


@step(retry=StepRetryConfig(max_retries=3, on=(ConnectionError,)))
def shaky(good_at: int, error: str = "Trouble") -> int:
    attempt = get_step_context().attempt
    if attempt < good_at:
        raise {"Trouble": Trouble, "ValueError": ValueError}[error](f"not yet: {attempt}")
    return attempt


class TestRetries:
    def test_a_step_is_tried_again_until_it_works(self, bench: Bench) -> None:
        @pipeline
        def made() -> int:
            return shaky(3)

        outcome, events = bench.run(made)
        assert outcome.outputs == {"output": 3}
        assert told(events, "shaky") == [
            "step_declared",
            "step_started",
            "step_retrying",
            "step_started",
            "step_retrying",
            "step_started",
            "artifact",
            "step_completed",
        ]
        failed = [event for event in events if event.type == "step_retrying"]
        assert [(one.attempt, one.error and one.error.message) for one in failed] == [
            (1, "not yet: 1"),
            (2, "not yet: 2"),
        ]
        assert [event.attempt for event in events if event.type == "step_started"] == [1, 2, 3]

    def test_in_the_end_the_last_error_counts(self, bench: Bench) -> None:
        @pipeline
        def made() -> int:
            return shaky(9)

        outcome, events = bench.run(made)
        assert outcome.error is not None
        assert (outcome.error.message, outcome.error.step) == ("not yet: 4", "shaky")
        assert told(events, "shaky").count("step_retrying") == 3

    def test_another_error_is_no_reason_to_try_again(self, bench: Bench) -> None:
        @pipeline
        def made() -> int:
            return shaky(2, error="ValueError")

        outcome, events = bench.run(made)
        assert outcome.error is not None
        assert outcome.error.type == "ValueError"
        assert "step_retrying" not in told(events, "shaky")

    def test_what_is_said_of_the_run_goes_before_the_code(self, bench: Bench) -> None:
        @pipeline
        def made() -> int:
            return shaky(2, error="ValueError", id="mine")

        bench.said = PipelineRunConfiguration(
            steps={"mine": StepConfiguration(retry=StepRetryConfig(max_retries=1, on=("ValueError",)))}
        )
        assert bench.run(made)[0].outputs == {"output": 2}

    def test_cancelling_ends_the_wait_for_the_next_attempt(self, bench: Bench) -> None:
        @pipeline(retry={"max_retries": 1, "delay": 3600})
        def made() -> None:
            fails()

        @step
        def fails() -> None:
            threading.Timer(0, engine[0].cancel).start()
            raise ValueError

        engine: list[Any] = []
        outcome, events = bench.run(made, watch=engine.append)
        assert isinstance(outcome.raised, RunCancelled)
        assert told(events, "fails")[-1] == "step_cancelled"


calls: list[Any] = []


def note(exception: BaseException) -> None:
    calls.append((get_step_context().step, type(exception).__name__))


def done() -> None:
    calls.append((get_step_context().step, "done"))


def breaks() -> None:
    raise RuntimeError("the hook itself")


class TestHooks:
    @pytest.fixture(autouse=True)
    def _fresh(self) -> None:
        calls.clear()

    def test_a_step_tells_how_it_ended(self, bench: Bench) -> None:
        @step(on_success=done, on_failure=note)
        def picky(x: int) -> int:
            if x < 0:
                raise ValueError
            return x

        @pipeline(execution_mode="continue_on_failure")
        def made() -> None:
            picky(1, id="good")
            picky(-1, id="bad")

        bench.run(made)
        assert sorted(calls) == [("bad", "ValueError"), ("good", "done")]

    def test_a_hook_that_fails_is_logged_and_changes_nothing(self, bench: Bench) -> None:
        @step(on_success=breaks)
        def fine() -> int:
            return 1

        @pipeline
        def made() -> int:
            return fine()

        outcome, events = bench.run(made)
        assert outcome.outputs == {"output": 1}
        assert any("the hook itself" in line for line in printed(events))

    def test_those_of_a_pipeline_are_called_once_and_state_reaches_the_steps(self, bench: Bench) -> None:
        def load(model: str) -> dict[str, str]:
            calls.append("init")
            return {"model": model}

        def clean(state: Any) -> None:
            calls.append(("cleanup", state))

        def ends(exception: BaseException | None) -> None:
            calls.append(exception)

        @step
        def asks() -> str:
            state: dict[str, str] = get_step_context().pipeline_state
            return state["model"]

        @pipeline(
            on_init=load,
            on_init_kwargs={"model": "m"},
            on_cleanup=clean,
            on_success=lambda: calls.append("success"),
            on_end=ends,
        )
        def made() -> Any:
            return {"a": asks(), "b": asks()}

        assert bench.run(made)[0].outputs == {"a": "m", "b": "m"}
        assert calls == ["init", "success", None, ("cleanup", {"model": "m"})]

    def test_a_run_whose_init_fails_runs_no_step(self, bench: Bench) -> None:
        @step
        def never() -> None:
            calls.append("step")

        @pipeline(on_init=breaks, on_failure=lambda exception: calls.append(str(exception)))
        def made() -> None:
            never()

        outcome, _ = bench.run(made)
        assert outcome.error is not None
        assert outcome.error.message == "the hook itself"
        assert calls == ["the hook itself"]


class TestModes:
    @staticmethod
    def three(mode: Any) -> Any:
        started = threading.Event()

        @step
        def fails() -> int:
            assert started.wait(20)
            raise ValueError("the first")

        @step
        def goes_on(seconds: float) -> float:
            started.set()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(0.01)  # slow: it is stopped, or ends by itself
            return seconds

        @step
        def after(x: Any) -> Any:
            return x

        @pipeline(execution_mode=mode)
        def made() -> None:
            after(fails(), id="dependent")
            after(goes_on(60.0 if mode == "fail_fast" else 0.3), id="independent")

        return made

    @pytest.mark.parametrize(
        ("mode", "running", "independent"),
        [
            ("fail_fast", "step_cancelled", "step_skipped"),
            ("stop_on_failure", "step_completed", "step_skipped"),
            ("continue_on_failure", "step_completed", "step_completed"),
        ],
    )
    def test_what_a_failure_means_for_the_others(self, bench: Bench, mode: str, running: str, independent: str) -> None:
        outcome, events = bench.run(self.three(mode))
        assert outcome.error is not None
        assert (outcome.error.message, outcome.error.step) == ("the first", "fails")
        assert told(events, "goes_on")[-1] == running
        assert told(events, "independent")[-1] == independent
        assert told(events, "dependent")[-1] == "step_skipped"


class TestKinds:
    def test_coroutines_run_side_by_side(self, bench: Bench) -> None:
        barrier = threading.Barrier(3)

        @step
        async def meet(x: int) -> int:
            await asyncio.to_thread(barrier.wait, 20)
            return x * 10

        @pipeline
        def made() -> Any:
            return meet.map([1, 2, 3])

        assert bench.run(made)[0].outputs == {"meet.output": 10, "meet_2.output": 20, "meet_3.output": 30}

    def test_a_coroutine_runs_where_a_loop_is_running(self, bench: Bench) -> None:
        @step
        async def fine() -> int:
            await asyncio.sleep(0)
            return 1

        @pipeline
        def made() -> int:
            return fine()

        async def notebook() -> Any:
            return bench.run(made)[0].outputs

        assert asyncio.run(notebook()) == {"output": 1}

    def test_called_alone_a_step_is_its_function(self) -> None:
        @step
        async def fine(x: int) -> int:
            return x

        assert asyncio.run(fine(3)) == 3
        with pytest.raises(NoStep):
            get_step_context()


class TestMapping:
    @staticmethod
    def run(bench: Bench, body: Callable[[], Any]) -> Any:
        return bench.run(pipeline(name="made")(body))[0]

    def test_lists_go_in_step_and_all_else_is_the_same(self, bench: Bench) -> None:
        @step
        def line(a: int, b: str, c: list[int]) -> str:
            return f"{a}{b}{c}"

        @step
        def letters() -> list[str]:
            return ["x", "y"]

        from penstock import unmapped

        def body() -> Any:
            return dict(enumerate_names(line.map([1, 2], letters(), c=unmapped([7]))))

        def enumerate_names(handles: list[Any]) -> Any:
            return ((str(at), handle) for at, handle in enumerate(handles))

        assert self.run(bench, body).outputs == {"0": "1x[7]", "1": "2y[7]"}

    def test_every_combination(self, bench: Bench) -> None:
        @step
        def pair(a: int, b: str) -> str:
            return f"{a}{b}"

        @step
        def joined(parts: list[str]) -> str:
            return " ".join(parts)

        assert self.run(bench, lambda: joined(pair.product([1, 2], ["a", "b"]))).outputs == {"output": "1a 1b 2a 2b"}

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [(lambda s: s.map([1], [2, 3]), "a has 1, b has 2"), (lambda s: s.map(1, 2), "mapped over nothing")],
    )
    def test_what_cannot_be_mapped_is_said(self, bench: Bench, wrong: Any, words: str) -> None:
        @step
        def add(a: int, b: int) -> int:
            return a + b

        outcome = self.run(bench, lambda: wrong(add))
        assert words in outcome.error.message


class TestSurroundings:
    def test_environment_variables_are_there_for_the_step_alone(self, bench: Bench) -> None:
        @step(environment={"PENSTOCK_TEST_A": "code"})
        def reads() -> str | None:
            return os.environ.get("PENSTOCK_TEST_A")

        @step
        def reads_too() -> str | None:
            return os.environ.get("PENSTOCK_TEST_A")

        @pipeline
        def made() -> Any:
            return {"a": [reads() for _ in range(5)], "b": [reads_too() for _ in range(5)], "c": reads(id="said")}

        said = StepConfiguration(environment={"PENSTOCK_TEST_A": "run"})
        bench.said = PipelineRunConfiguration(steps={"said": said})
        assert bench.run(made)[0].outputs == {"a": ["code"] * 5, "b": [None] * 5, "c": "run"}
        assert "PENSTOCK_TEST_A" not in os.environ

    def test_a_pipeline_inside_has_its_say_for_its_steps(self, bench: Bench) -> None:
        @step
        def extra() -> Any:
            return dict(get_step_context().extra)

        @pipeline(extra={"who": "inner", "own": 1})
        def inner() -> Any:
            return extra()

        @pipeline(extra={"who": "outer", "all": 2})
        def outer() -> Any:
            return {"in": inner(), "out": extra()}

        outcome = bench.run(outer)[0]
        assert outcome.outputs == {"in": {"who": "inner", "own": 1, "all": 2}, "out": {"who": "outer", "all": 2}}

    def test_a_step_knows_where_it_is(self, bench: Bench) -> None:
        @step(extra={"depth": 3})
        def asks(x: int) -> Any:
            context = get_step_context()
            return [context.run_name, context.step, context.step_name, sorted(context.inputs), context.extra]

        @step
        def one() -> int:
            return 1

        @pipeline
        def made() -> Any:
            return asks(one(), id="here")

        assert bench.run(made)[0].outputs == {"output": ["run", "here", "asks", ["x"], {"depth": 3}]}


class TestStreams:
    def test_items_are_told_as_they_come(self, bench: Bench) -> None:
        @step
        def counts(n: int) -> Iterator[int]:
            yield from range(n)

        @step
        async def letters() -> AsyncIterator[str]:
            for letter in "ab":
                await asyncio.sleep(0)
                yield letter

        @step
        def total(numbers: Any, texts: Any) -> str:
            return f"{sum(numbers)} {''.join(texts)}"

        @pipeline
        def made(n: int) -> Any:
            return total(counts(n), letters())

        outcome, events = bench.run(made, n=4)
        assert outcome.outputs == {"output": "6 ab"}
        told_of = [event.values for event in events if event.type == "item" and event.step == "counts"]
        assert told_of == [{"index": index, "value": index} for index in range(4)]

    def test_what_the_generator_raises_is_what_failed(self, bench: Bench) -> None:
        @step
        def breaks() -> Iterator[int]:
            yield 1
            raise Trouble("half way")

        @pipeline
        def made() -> Any:
            return breaks()

        outcome, events = bench.run(made)
        assert isinstance(outcome.raised, Trouble)
        assert outcome.error is not None
        assert "half way" in str(outcome.error.traceback)
        assert "artifact" not in told(events, "breaks")
