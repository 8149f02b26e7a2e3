"""Which Python carries out a run: the one it was frozen with, our own, or an environment that is built for it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from penstock.model.launch import RUN_VARIABLE, Ticket
from penstock.model.requirements import Requirements
from penstock.model.run import Event, Failure, LogLine
from penstock.runtime import processes
from penstock.runtime.children import FAREWELL, Children, NotStarted
from penstock.runtime.environments import Built, Environments
from penstock.runtime.inquiries import Fit, Order, Outcome, Question, changed

T = TypeVar("T")

_TRIES = 3
"""So often an environment is built again that somebody removes before it is used."""


class Unbuilt(Exception):
    """An environment could not be built. The text says why; `lines` is what was said on the way."""

    def __init__(self, reason: str, lines: list[str]) -> None:
        super().__init__(reason)
        self.lines = lines

    def last_words(self) -> tuple[Event, ...]:
        """The end of a run, as its journal would tell it: it has failed, since trying again would not help."""
        at = datetime.now(UTC)
        lines = tuple(LogLine(at=at, stream="stderr", text=one) for one in (*self.lines, f"penstock: {self}"))
        failure = Failure(type="EnvironmentFailed", message=str(self))
        return Event(seq=1, at=at, type="log", lines=lines), Event(seq=2, at=at, type="run_failed", error=failure)


@dataclass(frozen=True)
class Lodging:
    """The interpreter for a run, and what is to be told of the choice."""

    executable: str
    note: str | None = None
    hold: int | None = None
    """A descriptor that keeps its environment from being removed until it is closed."""


class _Work:
    """An environment that is being built, for all runs that wait for it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.pid: int | None = None
        self.task: asyncio.Task[Outcome] | None = None


class Housing:
    """Finds an interpreter for each run of a home. What it has found out it remembers, as long as that can be true."""

    def __init__(self, home: str, children: Children, environment: Mapping[str, str]) -> None:
        self._home = home
        self._children = children
        self._environment = {**environment, RUN_VARIABLE: processes.PLACEHOLDER}
        self._kept = Environments(home)
        self._usable: dict[str, asyncio.Task[bool]] = {}
        self._fits: dict[tuple[str, str], Fit] = {}
        self._works: dict[bytes, _Work] = {}
        self._built: dict[bytes, str] = {}

    async def lodge(self, ticket: Ticket, halted: asyncio.Event, doing: Callable[[str], None]) -> Lodging:
        """The interpreter for this run, which may have to be built: `doing` is told then, and `halted` cuts it short.

        Raises `Unbuilt` if there is none and none can be built, `NotStarted` when it was halted.
        """
        python, note = await self._interpreter(ticket)
        if ticket.requires is None:
            return Lodging(python, note)
        fit = await self._fit(python, ticket.requires)
        if not fit.misfits:
            return Lodging(python, note)
        components = {"artifact_store": ticket.artifact_store}
        if ticket.secret_store is not None:
            components["secret_store"] = ticket.secret_store
        order = Order(
            home=self._home,
            requires=ticket.requires,
            python=python,
            version=fit.python,
            tag=fit.tag,
            components=components,
        )
        return await self._room(order, fit.misfits, halted, doing)

    async def _room(
        self, order: Order, misfits: list[str], halted: asyncio.Event, doing: Callable[[str], None]
    ) -> Lodging:
        key = msgspec.json.encode(order)
        for _ in range(_TRIES):
            digest = self._built.get(key)
            hold = None if digest is None else self._kept.hold(digest)
            built = None if digest is None else self._kept.find(digest)
            if hold is not None and built is not None:
                return Lodging(self._kept.executable(built.digest), _told(built, misfits), hold)
            why = "; ".join(misfits)
            doing(f"It is preparing an environment, because {order.python} does not fit: {why}.")
            answer = await self._build(key, order, halted)
            if answer.built is None:
                raise Unbuilt(answer.failure or "The environment could not be built.", answer.lines)
            self._built[key] = answer.built.digest
        raise NotStarted(f"could not be started: its environment was removed {_TRIES} times before it was used")

    async def _build(self, key: bytes, order: Order, halted: asyncio.Event) -> Outcome:
        """Have it built, once for all who wait for it. The last one who is halted stops the builder."""
        work = self._works.get(key)
        if work is None:
            work = self._works[key] = _Work()
            work.task = asyncio.create_task(self._carry_out(work, order))
        assert work.task is not None
        work.waiting += 1
        halt = asyncio.create_task(halted.wait())
        try:
            await asyncio.wait({work.task, halt}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            halt.cancel()
            work.waiting -= 1
            if not work.waiting and self._works.get(key) is work:
                del self._works[key]
                self._stop(work)
        if work.task.done():
            return work.task.result()
        raise NotStarted("was stopped while its environment was being prepared")

    def _stop(self, work: _Work) -> None:
        """End a builder that nobody waits for; it removes what is half built."""
        if work.pid is None or work.task is None or work.task.done():
            return
        processes.tell(work.pid, signal.SIGTERM)
        kill = asyncio.get_running_loop().call_later(FAREWELL, processes.tell, work.pid, signal.SIGKILL)
        work.task.add_done_callback(lambda _: kill.cancel())

    async def _carry_out(self, work: _Work, order: Order) -> Outcome:
        def started(pid: int) -> None:
            work.pid = pid

        try:
            answer, status = await self._ask(sys.executable, "penstock.runtime.builder", order, Outcome, started)
        except OSError as error:
            return Outcome(failure=f"The builder of environments could not be started: {error}.")
        if answer is None:
            words = processes.ending(status).words
            return Outcome(failure=f"The builder of the environment {words}; the supervisor's log may say more.")
        return answer

    async def _fit(self, python: str, requires: Requirements) -> Fit:
        """Whether this interpreter fits; asked again when anything on its path has changed."""
        key = (python, requires.digest())
        known = self._fits.get(key)
        if known is None or changed(list(known.seen)) != known.seen:
            question = Question(requires=requires)
            try:
                known, _ = await self._ask(python, "penstock.runtime.fitting", question, Fit, lambda _: None)
            except OSError as error:
                raise NotStarted(f"could not be started: {error}") from error
            if known is None:
                raise NotStarted(f"could not be started: {python} does not say what is installed in it")
            self._fits[key] = known
        return known

    async def _ask(
        self, python: str, module: str, question: object, kind: type[T], started: Callable[[int], None]
    ) -> tuple[T | None, int]:
        """Start a module and ask it something; the answer, None if it died without one, and its wait status."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            try:
                command = [python, "-P", "-m", module, str(os.getpid())]
                pid = processes.start(command, stdin=theirs.fileno(), environment=dict(self._environment))
            finally:
                theirs.close()
            exited = self._children.watch(pid)
            started(pid)
            said = b""
            with suppress(OSError):  # it died; how, its status says
                await loop.sock_sendall(ours, msgspec.json.encode(question))
                ours.shutdown(socket.SHUT_WR)
                while part := await loop.sock_recv(ours, 1 << 16):
                    said += part
            status = await exited
        assert status is not None
        return (msgspec.json.decode(said, type=kind) if said else None), status

    async def _interpreter(self, ticket: Ticket) -> tuple[str, str | None]:
        """The Python that was asked for; our own, and a note, if it cannot be had."""
        wanted = ticket.executable
        if wanted is None or _same_python(wanted):
            return sys.executable, None
        if wanted not in self._usable:
            self._usable[wanted] = asyncio.create_task(self._try(wanted))
        if await self._usable[wanted]:
            return wanted, None
        self._usable.pop(wanted, None)  # somebody may mend it
        note = f"{wanted} cannot be used here (it is not there, or has no Penstock): this run uses {sys.executable}."
        return sys.executable, note

    async def _try(self, executable: str) -> bool:
        """Whether this Python can import what a run needs."""
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            command = [executable, "-P", "-c", "import penstock.runtime.run"]
            pid = processes.start(command, stdin=null, environment=dict(self._environment))
            return await self._children.watch(pid) == 0
        except OSError:
            return False
        finally:
            os.close(null)


def _told(built: Built, misfits: list[str]) -> str:
    return (
        f"it runs in environment {built.digest[:12]} (Python {built.python}), because elsewhere {'; '.join(misfits)}."
    )


def _same_python(executable: str) -> bool:
    """Whether this is our own Python, under whatever name (`python`, `python3`) of the same environment."""
    given, ours = Path(executable), Path(sys.executable)
    with suppress(OSError):
        return given.parent == ours.parent and given.samefile(ours)
    return False
