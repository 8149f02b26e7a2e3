"""Time limits: whatever user code is doing, it stops, or is given up and said so."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from penstock import pipeline, step
from penstock.errors import TimedOut
from penstock.model.configuration import PipelineRunConfiguration
from penstock.runtime.context import get_step_context
from tests.unit.runtime.benching import Bench, told


@step(timeout=0.2)
def busy() -> None:
    while True:
        pass


@step(timeout=0.2)
def stubborn() -> str:
    """Swallows what it can, and goes on."""
    while True:
        with suppress(Exception):
            time.sleep(60)  # slow: it is stopped, or ends by itself


@step(timeout=0.2)
def asleep() -> None:
    time.sleep(60)  # slow: it is stopped, or ends by itself


@step(timeout=0.2)
async def waiting() -> None:
    await asyncio.sleep(60)  # slow: it is stopped, or ends by itself


@step(timeout=0.2)
def yielding() -> Iterator[int]:
    for number in range(1_000_000):
        time.sleep(0.01)  # slow: it is stopped, or ends by itself
        yield number


class TestTimes:
    @pytest.mark.parametrize("slow", [busy, stubborn, asleep, waiting, yielding])
    def test_a_step_whose_time_is_up_is_stopped(self, bench: Bench, slow: Any) -> None:
        @pipeline
        def made() -> None:
            slow()

        before = time.monotonic()
        outcome, events = bench.run(made)
        assert time.monotonic() - before < 10  # of sixty seconds
        assert isinstance(outcome.raised, TimedOut)
        assert outcome.error is not None
        assert outcome.error.message == f"Step {slow.name} did not end within 0.2 s."
        assert told(events, slow.name)[-1] == "step_failed"

    @pytest.mark.parametrize("slow", [busy, waiting])
    def test_also_in_the_thread_of_a_helper(self, bench: Bench, slow: Any) -> None:
        @pipeline
        def made() -> None:
            for _ in range(4):
                slow()

        bench.said = PipelineRunConfiguration(execution_mode="continue_on_failure")
        outcome, events = bench.run(made)
        assert isinstance(outcome.raised, TimedOut)
        assert [event.type for event in events].count("step_failed") == 4

    def test_each_attempt_has_its_own_time(self, bench: Bench) -> None:
        @step(timeout=0.3, retry={"max_retries": 1})
        def slow_once() -> int:
            if get_step_context().attempt == 1:
                time.sleep(60)  # slow: it is stopped, or ends by itself
            return get_step_context().attempt

        @pipeline
        def made() -> int:
            return slow_once()

        assert bench.run(made)[0].outputs == {"output": 2}

    def test_the_run_has_a_time_of_its_own(self, bench: Bench) -> None:
        @step
        def long() -> None:
            time.sleep(60)  # slow: it is stopped, or ends by itself

        @pipeline
        def made() -> None:
            long()
            long(after=["long"])

        bench.said = PipelineRunConfiguration(timeout=0.2)
        outcome, events = bench.run(made)
        assert isinstance(outcome.raised, TimedOut)
        assert outcome.error is not None
        assert outcome.error.message == "Run run did not end within 0.2 s."
        assert told(events, "long_2")[-1] == "step_skipped"

    def test_a_pipeline_function_that_does_not_end_is_stopped_too(self, bench: Bench) -> None:
        @pipeline
        def made() -> None:
            while True:
                time.sleep(0.01)  # slow: it is stopped, or ends by itself

        bench.said = PipelineRunConfiguration(timeout=0.2)
        assert isinstance(bench.run(made)[0].raised, TimedOut)

    def test_what_nothing_stops_is_given_up_and_said_so(self, bench: Bench) -> None:
        release = threading.Event()

        @step(timeout=0.1)
        def deaf() -> None:
            release.wait(60)  # in a helper's thread, where no exception gets into a lock

        @step
        def calm() -> int:
            return 1

        @pipeline(execution_mode="continue_on_failure")
        def made() -> Any:
            for _ in range(3):
                deaf()
            return calm(after=["deaf_3"])

        outcome, events = bench.run(made)
        release.set()
        for thread in threading.enumerate():
            if thread.name.startswith("penstock-run"):
                thread.join(20)
        assert isinstance(outcome.raised, TimedOut)
        messages = [event.error.message for event in events if event.type == "step_failed" and event.error]
        assert len(messages) == 3
        assert any("goes on in the background" in message for message in messages)
