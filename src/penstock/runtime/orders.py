"""What is said between a launcher, its supervisor, and the supervisor's warm parents: JSON lines over Unix sockets."""

from __future__ import annotations

import msgspec

from penstock.model.launch import Held, Ticket


class Launch(msgspec.Struct, tag_field="op", tag="launch", frozen=True):
    """From a launcher: take this run into your care. The same run and fence again change nothing."""

    ticket: Ticket


class Stop(msgspec.Struct, tag_field="op", tag="stop", frozen=True):
    """From a launcher: stop this run, if you have it."""

    run_id: str


class Leave(msgspec.Struct, tag_field="op", tag="leave", frozen=True):
    """From a launcher: leave as soon as you hold nothing."""


class State(msgspec.Struct, tag_field="op", tag="state", frozen=True):
    """From a launcher: say what you hold."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """To a launcher. What an order does not ask for is left out."""

    ok: bool
    error: str | None = None
    left: bool | None = None
    """To `Leave`: whether the supervisor goes at once."""

    version: str | None = None
    pid: int | None = None
    held: list[Held] = []
    parents: list[int] = []
    """Pids of the warm parents."""

    spare: int | None = None
    """The pid of the one that waits for new code."""

    exits: int = 0
    """How many exits the server has not heard of yet."""


class Fork(msgspec.Struct, tag="fork", frozen=True):
    """To a warm parent: carry out this run."""

    ticket: Ticket


class Drop(msgspec.Struct, tag="drop", frozen=True):
    """To a warm parent: do not carry out this run, if it has not been forked yet."""

    run_id: str


class Declined(msgspec.Struct, tag="declined", frozen=True):
    """From a warm parent: no process was made for this run. With `spawn` a new interpreter may carry it out."""

    run_id: str
    reason: str
    spawn: bool = False


class Forking(msgspec.Struct, tag="forking", frozen=True):
    """From a warm parent: from now on user code may be running, whatever else is heard."""

    run_id: str


class Forked(msgspec.Struct, tag="forked", frozen=True):
    """From a warm parent: the process of the run."""

    run_id: str
    pid: int


class Exited(msgspec.Struct, tag="exited", frozen=True):
    """From a warm parent: how the process ended, as `waitpid` says it."""

    run_id: str
    status: int


FromLauncher = Launch | Stop | Leave | State
ToParent = Fork | Drop
FromParent = Declined | Forking | Forked | Exited
