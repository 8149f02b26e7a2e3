"""An engine on a real artifact store, with a journal that keeps its events here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.author.pipeline import Pipeline
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.launch import Ticket
from penstock.model.run import Batch, Event, Receipt, RunState
from penstock.model.stack import Component
from penstock.runtime.engine import Engine, Outcome
from penstock.runtime.journal import Journal
from penstock.runtime.logs import Capture
from penstock.stack.flavors.file_store import FileStore


class Bench:
    """Runs pipelines, each with a journal of its own, and keeps what was reported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said = PipelineRunConfiguration()
        self.workers = 4

    def ticket(self, parameters: dict[str, Any], steps: dict[str, dict[str, Any]] | None = None) -> Ticket:
        return Ticket(
            run_id="r",
            run_name="run",
            fence=1,
            pipeline="p",
            source="m:p",
            code=None,
            parameters=parameters,
            step_parameters=steps or {},
            artifact_store=Component(flavor="file"),
            server="",
            token="",
            home=str(self.path),
            lease=10,
            grace=1,
            parallel_steps=self.workers,
            configuration=self.said,
            timeout=self.said.timeout,
        )

    def run(
        self,
        made: Pipeline,
        steps: dict[str, dict[str, Any]] | None = None,
        watch: Callable[[Engine], None] = lambda _: None,
        **parameters: Any,
    ) -> tuple[Outcome, list[Event]]:
        events: list[Event] = []

        def send(batch: Batch) -> Receipt:
            events.extend(batch.events)
            return Receipt(state=RunState.RUNNING, sequence=0)

        journal = Journal(send, 1)
        with Capture(journal.log, own_process=False, tee=False) as capture:
            engine = Engine(self.ticket(parameters, steps), journal, capture, FileStore(path=str(self.path)))
            journal.begin({}, refused=lambda _: None)
            watch(engine)
            outcome = engine.carry_out(made)
        journal.end(outcome.outputs, outcome.error)
        return outcome, events


def told(events: list[Event], step: str) -> list[str]:
    """What was reported of a step, in order."""
    return [event.type for event in events if event.step == step and event.type != "log"]


def printed(events: list[Event]) -> list[str]:
    """All lines of output."""
    return [line.text for event in events for line in event.lines]
