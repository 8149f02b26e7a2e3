"""Watching a run: a line for each step while it goes on, and at the end what came out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from penstock.cli.failures import DETACHED, FAILED
from penstock.cli.output import Output, colour, command, duration, line, literal, say, show_record, stderr, text, took
from penstock.client.client import Client
from penstock.client.events import RunEvent
from penstock.model.run import TERMINAL, Run, RunState, StepState
from penstock.settings import Settings

if TYPE_CHECKING:
    from rich.text import Text

_MARKS = {
    StepState.QUEUED: "○",
    StepState.RUNNING: "●",
    StepState.RETRYING: "↻",
    StepState.COMPLETED: "✓",
    StepState.CACHED: "✓",
    StepState.FAILED: "✗",
    StepState.SKIPPED: "-",
    StepState.CANCELLED: "✗",
}


@dataclass
class _Step:
    """What is known of a step: its state and when it took it on, when it began to run, and what was said about it."""

    state: StepState
    since: datetime
    started: datetime | None = None
    note: str | None = None

    def seconds(self, now: datetime) -> float | None:
        """How long it has run, or ran; None if it never did."""
        if self.started is None:
            return None
        return ((self.since if self.state.terminal else now) - self.started).total_seconds()


@dataclass
class _Board:
    """A run as its history has told it so far."""

    name: str
    state: str = RunState.QUEUED
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    steps: dict[str, _Step] = field(default_factory=dict)

    def tell(self, event: RunEvent) -> None:
        """Take in one entry of the history."""
        subject, _, state = event.type.partition("_")
        if subject == "run":
            self.state, self.since = state, event.at
        elif event.step is not None:
            before = self.steps.get(event.step)
            started = event.at if state == StepState.RUNNING else before.started if before else None
            note = event.data.get("error") or event.data.get("reason")
            self.steps[event.step] = _Step(StepState(state), event.at, started, note)


class _Lines:
    """For logs and pipes: a line when something happens."""

    def __init__(self, board: _Board) -> None:
        self._board = board

    def __enter__(self) -> Callable[[RunEvent], None]:
        return self._tell

    def __exit__(self, *_: object) -> None:
        """Everything has been said."""

    def _tell(self, event: RunEvent) -> None:
        self._board.tell(event)
        if event.step is None:
            reason = event.data.get("reason")
            say(f"run {self._board.name}: {self._board.state}{f' ({line(reason)})' if reason else ''}")
            return
        step = self._board.steps[event.step]
        if step.state is not StepState.QUEUED:
            seconds = step.seconds(event.at) if step.state.terminal else None
            after = "" if seconds is None else f" after {duration(seconds)}"
            say(f"step {text(event.step)}: {step.state}{after}{f' ({line(step.note)})' if step.note else ''}")


class _Live:
    """For terminals: a line for each step, kept up to date in place."""

    def __init__(self, board: _Board) -> None:
        from rich.live import Live  # heavy: loaded when something is shown

        self._board = board
        self._console = stderr()
        self._live = Live(self, console=self._console, refresh_per_second=8)

    def __enter__(self) -> Callable[[RunEvent], None]:
        self._live.__enter__()
        return self._board.tell

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def __rich__(self) -> Text:
        from rich.text import Text  # heavy: loaded when something is shown

        board, now = self._board, datetime.now(UTC)
        whole = Text.assemble("run ", (board.name, "bold"), "  ", (board.state, colour(board.state)))
        if board.state not in TERMINAL:
            whole.append(f"  {duration((now - board.since).total_seconds())}", "dim")
        steps = list(board.steps.items())
        room = self._console.height - 4
        if len(steps) > room:
            ended = [one for one in steps if one[1].state.terminal]
            hidden = {name for name, _ in ended[: len(steps) - room]}
            whole.append(f"\n  … {len(hidden)} steps before")
            steps = [one for one in steps if one[0] not in hidden]
        for name, step in steps[:room]:
            seconds = step.seconds(now)
            mark = _MARKS[step.state] if self._console.encoding.startswith("utf") else step.state[:1]
            whole.append(f"\n  {mark} ", colour(step.state)).append(text(name))
            whole.append(f"  {step.state if seconds is None else duration(seconds)}", "dim")
            if step.note:
                whole.append(f"  {line(step.note)}", colour(step.state))
        return whole


def watch(client: Client, run: Run) -> Run:
    """Show the progress of `run` on stderr until it has ended; return it ended.

    Ctrl-C leaves the run alone: it says how to come back and how to cancel, and ends the command.
    """
    try:
        if Settings.load().quiet:
            return client.runs.wait(run)
        board = _Board(text(run.name))
        view: AbstractContextManager[Callable[[RunEvent], None]]
        view = _Live(board) if stderr().is_terminal else _Lines(board)
        with view as tell:
            for event in client.runs.follow(run):
                tell(event)
        return client.runs.get(run)
    except KeyboardInterrupt:
        say(f"\nThe run goes on. To watch it again: {command('run', 'wait', run.name)}")
        say(f"To cancel it: {command('run', 'cancel', run.name)}")
        raise typer.Exit(DETACHED) from None


def conclude(run: Run, output: Output) -> None:
    """Print what an ended run has made, and why it failed; leave the command with what became of it."""
    if run.error is not None:
        say()
        say((run.error.traceback or "").rstrip() or f"{run.error.type}: {run.error.message}")
        say()
    show_record(run, _summary(run), output)
    if run.state is RunState.COMPLETED:
        return
    if run.error is None and run.reason:
        say(run.reason)
    say(f"Its output: {command('run', 'logs', run.name)}")
    raise typer.Exit(FAILED)


def launched(client: Client, run: Run, output: Output, *, wait: bool) -> None:
    """What a command does that has started `run`: wait for it and report, or say that it was started."""
    if wait:
        conclude(run if run.state.terminal else watch(client, run), output)
        return
    show_record(run, {"Run": run.name, "ID": run.id, "State": run.state}, output)
    say(f"Watch it: {command('run', 'wait', run.name)}")


def outcome(run: Run) -> str:
    """A line for each output of a run: the value, or the artifact that holds it."""
    return "\n".join(f"{text(name)} = {_value(value)}" for name, value in (run.outputs or {}).items())


def _value(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"artifact", "type"}:
        return f"artifact {text(value['artifact'])} ({text(value['type'])})"
    return literal(value)


def _summary(run: Run) -> dict[str, Any]:
    took_it = took(run.started, run.ended)
    return {"Run": run.name, "ID": run.id, "State": run.state, "Took": took_it, "Outputs": outcome(run)}
