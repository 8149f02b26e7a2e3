"""Spans of a run and of its steps, and the trace context that user code finds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from penstock.model.launch import Ticket
from penstock.model.trace import TRACEPARENT, Traces, failed, name_of, traces

_running: tuple[Traces, str] | None = None
"""Where the spans of this process's run go, and the name of the run's own."""


def traced(run: Callable[[Ticket], int], ticket: Ticket) -> int:
    """Call `run` under a span of its own, if somebody wants it; what it starts finds the context in its environment."""
    global _running
    _tell(ticket.traceparent)
    found = traces("penstock-run")
    if found is None:
        return run(ticket)
    told = {
        "penstock.run.id": ticket.run_id,
        "penstock.run.name": ticket.run_name,
        "penstock.pipeline": ticket.pipeline,
    }
    span = found.begin(f"run {ticket.pipeline}", ticket.traceparent, told)
    _running = found, name_of(span)
    _tell(name_of(span))
    try:
        status = run(ticket)
        if status:
            failed(span, "RunFailed")
        return status
    finally:
        _running = None
        span.end()
        found.close()


def step_span(step: str, name: str) -> AbstractContextManager[None]:
    """Around a step; code of it that uses OpenTelemetry itself is below this span."""
    return _UNTRACED if _running is None else _step_span(*_running, step, name)


_UNTRACED = nullcontext()


@contextmanager
def _step_span(found: Traces, parent: str, step: str, name: str) -> Iterator[None]:
    span = found.begin(f"step {name}", parent, {"penstock.step": step})
    with _current(span):
        try:
            yield
        except BaseException as error:
            failed(span, type(error).__name__)
            raise
        finally:
            span.end()


@contextmanager
def _current(span: Any) -> Iterator[None]:
    # OpenTelemetry is optional; here it is there.
    from opentelemetry.trace import use_span

    with use_span(span, record_exception=False, set_status_on_exception=False):
        yield


def _tell(context: str | None) -> None:
    if context is None:
        os.environ.pop(TRACEPARENT, None)
    else:
        os.environ[TRACEPARENT] = context
