"""An engine on a real artifact store, with a journal that keeps its events here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.author.pipeline import Pipeline
from penstock.model.artifact import Artifact
from penstock.model.cache import Earlier, Found, Lookup
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.launch import Ticket
from penstock.model.requirements import Requirements
from penstock.model.run import Batch, Event, Receipt, RunState
from penstock.model.stack import Component
from penstock.runtime.cache import StepCache
from penstock.runtime.engine import Engine
from penstock.runtime.journal import Journal
from penstock.runtime.logs import Capture
from penstock.runtime.secrets import Secrets
from penstock.runtime.services import Outcome, Services
from penstock.stack.flavors.file_store import FileStore
from penstock.stack.flavors.secret_files import SecretFiles


class Memory:
    """What a server knows of earlier results, for the runs of one bench."""

    def __init__(self) -> None:
        self.results: list[tuple[str, str, Earlier]] = []
        """Step, key and results, the oldest first."""

    def ask(self, wanted: Lookup) -> Found:
        hits = [one for _, key, one in self.results if key == wanted.key]
        fresh = [one for one in hits if wanted.not_before is None or one.ended >= wanted.not_before]
        if fresh:
            return Found(hit=fresh[-1])
        of_step = [one for step, _, one in self.results if step == wanted.step]
        return Found(latest=of_step[-1] if of_step else None, expired=bool(hits))

    def take_in(self, events: list[Event]) -> None:
        notes = {event.step: event.cache for event in events if event.cache is not None}
        names = {event.step: event.name for event in events if event.type == "step_declared"}
        made = {(event.step, event.output): event.artifact for event in events if event.artifact is not None}
        for event in events:
            note = notes.get(event.step)
            if event.type == "step_completed" and note is not None and note.key is not None:
                outputs = {name: one for (step, name), one in made.items() if step == event.step and name and one}
                earlier = Earlier(
                    run_id="r",
                    run_name="run",
                    step=str(event.step),
                    parts=note.parts,
                    outputs=outputs,
                    ended=event.at,
                )
                self.results.append((str(names[event.step]), note.key, earlier))


class Bench:
    """Runs pipelines, each with a journal of its own, and keeps what was reported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path
        """Where the code of the pipelines lies, as far as their cache policies are concerned."""

        self.memory = Memory()
        self.artifacts: dict[str, Artifact] = {}
        """Those that pipelines may be given, by id."""

        self.said = PipelineRunConfiguration()
        self.requires: Requirements | None = None
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
            store = FileStore(path=str(self.path))
            cache = StepCache("p", self.memory.ask, store, self.root, requires=self.requires)
            secrets = Secrets(SecretFiles(self.path / "secrets"), journal)
            ticket = self.ticket(parameters, steps)
            services = Services(cache=cache, secrets=secrets, artifact=self.artifacts.__getitem__)
            engine = Engine(ticket, journal, capture, store, services=services)
            journal.begin({}, refused=lambda _: None)
            watch(engine)
            outcome = engine.carry_out(made)
        journal.end(outcome.outputs, outcome.error)
        self.memory.take_in(events)
        return outcome, events


def told(events: list[Event], step: str) -> list[str]:
    """What was reported of a step, in order."""
    return [event.type for event in events if event.step == step and event.type != "log"]


def printed(events: list[Event]) -> list[str]:
    """All lines of output."""
    return [line.text for event in events for line in event.lines]
