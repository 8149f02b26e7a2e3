"""What holds for a run and for each of its steps: what the code says, under what was said of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.author.composer import enclosing
from penstock.author.pipeline import Pipeline
from penstock.author.step import Step
from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration, for_step, laid_over

Function = Callable[..., Any]
_MOST_KNOWN = 10_000


class Layers:
    """One run's configurations, worked out when they are first asked for. To be asked under the engine's lock."""

    def __init__(self, pipeline: Pipeline, given: PipelineRunConfiguration) -> None:
        self._pipeline = pipeline
        self._given = given
        self.run = laid_over(pipeline.configuration, given)
        self._steps: dict[tuple[Step, tuple[Pipeline, ...], str | None], StepConfiguration] = {}

    def of_step(self, step: Step, invocation: str) -> StepConfiguration:
        """What holds for this invocation, called where it is called: pipelines inside pipelines have their say."""
        around = enclosing.get()
        key = (step, around, invocation if invocation in self._given.steps else None)
        known = self._steps.get(key)
        if known is None:
            code = self._pipeline.configuration
            for inner in around:
                code = laid_over(code, inner.configuration)
            if len(self._steps) >= _MOST_KNOWN:  # a pipeline that makes a step of its own in each run of a service
                self._steps.clear()
            known = self._steps[key] = for_step(code, step.configuration, self._given, invocation)
        return known

    def has_own_policy(self, step: Step, invocation: str) -> bool:
        """Whether the cache policy of this invocation was said of the step, and not of the pipeline or the run."""
        given = self._given.steps.get(invocation)
        return step.configuration.cache_policy is not None or (given is not None and given.cache_policy is not None)

    def function_of_step(self, step: Step, name: str) -> Function | None:
        """The function that `step`, or a pipeline around it, was given under this name."""
        own = step.options.function(name) if step.options is not None else None
        return own or self.function(name)

    def function(self, name: str) -> Function | None:
        """The function that a pipeline of this run was given under this name."""
        pipelines = (*reversed(enclosing.get()), self._pipeline)
        return next((found for one in pipelines if (found := one.function_named(name)) is not None), None)
