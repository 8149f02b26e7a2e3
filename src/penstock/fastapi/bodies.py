"""What callers of an embedded router send, and what they get: less than the records of Penstock have."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penstock.model.run import Run, RunState
from penstock.model.template import TemplateDetail


class StepValues(BaseModel):
    """Values for the arguments of one step."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[str, Any] = Field(default={})


class TriggerRequest(BaseModel):
    """What a caller may say of a run. How it is carried out (environment, secrets, hooks) is not theirs to say."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[str, Any] = Field(default={}, description="Pipeline parameter -> value.")
    steps: dict[str, StepValues] = Field(default={}, description="Invocation id -> values for that step alone.")
    preset: str | None = Field(default=None, description="Values that the template has under this name.")
    run_name: str | None = None
    tags: list[str] = Field(default=[], max_length=50)
    callback_url: str | None = Field(default=None, description="Who is told of the run's end, where that is offered.")

    def configuration(self) -> dict[str, Any]:
        """As keyword arguments of the client's calls."""
        return self.model_dump()


class TemplateView(BaseModel):
    """A template that can be started here."""

    name: str
    version: int
    description: str | None
    tags: list[str]
    parameter_schema: dict[str, Any] = Field(description="JSON Schema of `parameters`.")
    output_schema: dict[str, Any] = Field(description="JSON Schema of a run's `outputs`.")
    steps: list[str]

    @classmethod
    def of(cls, name: str, detail: TemplateDetail) -> TemplateView:
        """The template under the `name` that it has here."""
        return cls(
            name=name,
            version=detail.version,
            description=detail.template.description,
            tags=list(detail.template.tags),
            parameter_schema=detail.parameter_schema,
            output_schema=detail.output_schema,
            steps=list(detail.steps),
        )


class TemplateList(BaseModel):
    """All templates that can be started here."""

    items: list[TemplateView]


class FailureView(BaseModel):
    """Why a run failed; without its traceback."""

    type: str
    message: str
    step: str | None


class RunView(BaseModel):
    """A run as its caller sees it."""

    id: str
    name: str
    state: RunState
    reason: str | None
    template: str
    version: int | None
    parameters: dict[str, Any]
    outputs: dict[str, Any] | None = Field(description="What the pipeline returned; null before the end.")
    error: FailureView | None
    tags: list[str]
    created: datetime
    started: datetime | None
    ended: datetime | None

    @classmethod
    def of(cls, name: str, run: Run) -> RunView:
        """`run`, of the template that is called `name` here."""
        failure = run.error
        told = FailureView(type=failure.type, message=failure.message, step=failure.step) if failure else None
        return cls(
            id=run.id,
            name=run.name,
            state=run.state,
            reason=run.reason,
            template=name,
            version=run.template_version,
            parameters=run.parameters,
            outputs=run.outputs,
            error=told,
            tags=list(run.tags),
            created=run.created,
            started=run.started,
            ended=run.ended,
        )
