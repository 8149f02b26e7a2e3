"""The children of a supervisor: warm parents, the runs they fork, and whatever else it has to wait for."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from penstock.model.launch import RUN_VARIABLE, Ticket
from penstock.runtime import processes, workplace
from penstock.runtime.orders import Drop, Exited, Fork, Forked, Forking, FromParent, ToParent

log = logging.getLogger("penstock.supervisor")

IDLE = 900.0
"""Seconds after which a warm parent without runs leaves, however few there are."""

FAREWELL = 5.0
"""Seconds that a warm parent may take to leave by itself."""


class NotStarted(Exception):
    """No process was made for a run. With `spawn` a new interpreter may carry it out."""

    def __init__(self, reason: str, *, spawn: bool = False) -> None:
        super().__init__(reason)
        self.spawn = spawn


class Lost(Exception):
    """The run may have started, but nobody knows its process."""


class Children:
    """Waits for every child of this process, the adopted ones too, so that none stays a zombie."""

    def __init__(self) -> None:
        self._watched: dict[int, asyncio.Future[int | None]] = {}

    def watch(self, pid: int) -> asyncio.Future[int | None]:
        """What gets the wait status of `pid`, once that is a child of ours and has ended."""
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._watched[pid] = future
        return future

    def reap(self) -> None:
        """Take the status of every child that has ended: to be called on SIGCHLD."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            future = self._watched.pop(pid, None)
            if future is not None and not future.done():
                future.set_result(status)

    def strays(self) -> set[int]:
        """Adopted children: what a run left behind, or what one that is still alive has sent into the background."""
        return processes.children() - self._watched.keys()


@dataclass(frozen=True)
class RunProcess:
    """A live run process. `exited` gets its wait status, or None if it died with the warm parent that forked it."""

    pid: int
    exited: asyncio.Future[int | None]
    parent: Parent | None = None

    def end(self, status: int | None) -> None:
        """Note how it ended; only the first word counts."""
        if not self.exited.done():
            self.exited.set_result(status)


class Parent:
    """One warm parent as its supervisor sees it, from its start to its burial."""

    def __init__(
        self, command: list[str], environment: Mapping[str, str], children: Children, hold: int | None = None
    ) -> None:
        """Raises `OSError` if it cannot be started. A copy of the descriptor `hold` stays open until it is gone."""
        ours, theirs = socket.socketpair()
        try:
            marked = {**environment, RUN_VARIABLE: processes.PLACEHOLDER}
            self.pid = processes.start(command, stdin=theirs.fileno(), environment=marked)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._hold = None if hold is None else os.dup(hold)
        self._place = workplace.warm_place(environment["PENSTOCK_HOME"], self.pid)
        self.proven = False
        """Whether it ever forked a run: its imports do not kill it."""
        self.leaving = False
        """Whether it can take no more runs."""
        self.fate: str | None = None
        """How it ended, in words."""
        self.used = asyncio.get_running_loop().time()
        self._children = children
        self._ended = children.watch(self.pid)
        self._asked: dict[str, asyncio.Future[RunProcess]] = {}
        self._forking: set[str] = set()
        self._alive: dict[str, RunProcess] = {}
        self._unsent: list[bytes] = []
        self._writer: asyncio.StreamWriter | None = None
        self.life = asyncio.create_task(self._live(ours))

    @property
    def busy(self) -> bool:
        """Whether any run is with it."""
        return bool(self._asked or self._alive)

    async def fork(self, ticket: Ticket) -> RunProcess:
        """Have the run forked. Raises `NotStarted`, or `Lost` if the parent died in the act."""
        asked: asyncio.Future[RunProcess] = asyncio.get_running_loop().create_future()
        self._asked[ticket.run_id] = asked
        self._say(Fork(ticket))
        return await asked

    def drop(self, run_id: str) -> None:
        """Ask it not to fork this run; `fork` then raises `NotStarted`, unless it was too late."""
        if not self.leaving:
            self._say(Drop(run_id))

    def abandon(self, run_id: str) -> None:
        """Wait for its answer to `drop` no longer: it hangs while importing. It is killed, unless it has other runs."""
        asked = self._asked.pop(run_id, None)
        if asked is not None and not asked.done():
            asked.set_exception(NotStarted("was cancelled before it started"))
        if not self.busy:
            self.kill()

    def kill(self) -> None:
        """End it now, and with it the runs that it has."""
        if not self.leaving:
            processes.tell(self.pid, signal.SIGKILL)

    def dismiss(self) -> None:
        """Let it leave, with all that it started. One that hangs is killed after `FAREWELL` seconds."""
        if self.leaving:
            return
        self.leaving = True
        if self._writer is not None:
            self._writer.close()
        else:
            self.life.cancel()

    def _say(self, message: ToParent) -> None:
        line = msgspec.json.encode(message) + b"\n"
        if self._writer is None:
            self._unsent.append(line)
        else:
            self._writer.write(line)

    async def _live(self, channel: socket.socket) -> None:
        decode = msgspec.json.Decoder(FromParent).decode
        try:
            reader, self._writer = await asyncio.open_connection(sock=channel, limit=1 << 20)
            self._writer.writelines(self._unsent)
            async for line in reader:
                self._hear(decode(line))
            self._writer.close()
        except (OSError, ValueError, asyncio.CancelledError) as error:
            if not self.leaving:
                log.warning("warm parent %d: %r", self.pid, error)
        self.leaving = True
        channel.close()
        await self._bury()

    def _hear(self, message: FromParent) -> None:
        self.used = asyncio.get_running_loop().time()
        run_id = message.run_id
        if isinstance(message, Forking):
            self._forking.add(run_id)
        elif isinstance(message, Exited):
            self._alive.pop(run_id).end(message.status)
        else:
            self._forking.discard(run_id)
            asked = self._asked.pop(run_id, None)
            if isinstance(message, Forked):
                self._forked(run_id, message.pid, asked)
            elif asked is not None and not asked.done():
                asked.set_exception(NotStarted(message.reason, spawn=message.spawn))

    def _forked(self, run_id: str, pid: int, asked: asyncio.Future[RunProcess] | None) -> None:
        self.proven = True
        process = RunProcess(pid, asyncio.get_running_loop().create_future(), self)
        self._alive[run_id] = process
        if asked is None or asked.done():  # abandoned, and forked all the same
            processes.tell(pid, signal.SIGKILL)
        else:
            asked.set_result(process)

    async def _bury(self) -> None:
        """See to it that it is gone with all that it started, and tell those who wait for a run of it."""
        await asyncio.wait({self._ended}, timeout=FAREWELL)
        await asyncio.to_thread(processes.end_tree, self.pid)
        await asyncio.wait({self._ended}, timeout=FAREWELL)
        await asyncio.to_thread(workplace.remove, self._place)  # one that was killed has left it behind
        self.fate = _words(self._ended.result()) if self._ended.done() else "could not be killed"
        for run_id, asked in self._asked.items():
            if asked.done():
                continue
            if run_id in self._forking:
                asked.set_exception(Lost(f"was lost: its warm parent {self.fate}"))
            else:
                asked.set_exception(NotStarted(f"could not be started: its warm parent {self.fate}", spawn=True))
        for run_id, process in self._alive.items():
            # It died with its parent (PR_SET_PDEATHSIG): the status that it left us as an orphan says nothing.
            await asyncio.to_thread(processes.end_run, run_id, process.pid)
            process.end(None)
        self._asked.clear()
        self._alive.clear()
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None


class Parents:
    """The warm parents of a supervisor: one for each code archive and interpreter, and no more idle ones than allowed.

    A spare one waits for code that comes for the first time: it has imported all of a run but the user's module.
    """

    def __init__(self, children: Children, environment: Mapping[str, str], limit: int) -> None:
        self._children = children
        self._environment = environment
        self._limit = limit
        self._by_key: dict[tuple[str, str], Parent] = {}
        self._spare: Parent | None = None
        self._all: set[Parent] = set()

    def take(self, code: str, executable: str, hold: int | None = None) -> Parent:
        """The warm parent for this code, started if there is none. Raises `OSError` if that fails.

        `hold` keeps the environment of the interpreter from being removed; the parent has a copy of it.
        """
        key = (code, executable)
        parent = self._by_key.pop(key, None)
        if parent is None or parent.leaving:
            parent = self._claim_spare(executable) or self._start(executable, hold)
            log.info("warm parent %d takes code %.12s", parent.pid, code)
        self._by_key[key] = parent  # the last in the dict is the one used last
        return parent

    def prepare(self) -> None:
        """Have a spare one."""
        if self._limit > 0 and (self._spare is None or self._spare.leaving):
            try:
                self._spare = self._start(sys.executable)
            except OSError as error:
                log.warning("no warm parent can be started: %s", error)

    def retire(self, parent: Parent) -> None:
        """Give it no more runs; it leaves when those it has are over."""
        self._by_key = {key: one for key, one in self._by_key.items() if one is not parent}
        self.trim()

    def trim(self) -> None:
        """Let go of idle parents: retired ones, those long unused, and the least recently used above the limit."""
        now = asyncio.get_running_loop().time()
        idle = [one for one in reversed(self._by_key.values()) if not one.busy][: self._limit]
        keep = {one for one in (*idle, self._spare) if one is not None and now - one.used < IDLE}
        for parent in self._all:
            if not parent.busy and parent not in keep:
                parent.dismiss()
        self._by_key = {key: one for key, one in self._by_key.items() if one.busy or one in keep}

    def pids(self) -> list[int]:
        """Those that are alive, without the spare one."""
        return sorted(parent.pid for parent in self._all if parent is not self._spare)

    @property
    def spare(self) -> int | None:
        """The pid of the spare one."""
        return self._spare.pid if self._spare is not None else None

    async def close(self) -> None:
        """Let all of them go; returns when they are gone."""
        self._by_key.clear()
        for parent in self._all:
            parent.dismiss()
        if self._all:
            await asyncio.wait({parent.life for parent in self._all})

    def _start(self, executable: str, hold: int | None = None) -> Parent:
        parent = Parent([executable, "-P", "-m", "penstock.runtime.warm"], self._environment, self._children, hold)
        self._all.add(parent)
        parent.life.add_done_callback(lambda _: self._gone(parent))
        return parent

    def _claim_spare(self, executable: str) -> Parent | None:
        spare = self._spare
        if spare is None or spare.leaving or executable != sys.executable:
            return None
        self._spare = None
        return spare

    def _gone(self, parent: Parent) -> None:
        self._all.discard(parent)
        self._by_key = {key: one for key, one in self._by_key.items() if one is not parent}
        if self._spare is parent:
            self._spare = None


def _words(status: int | None) -> str:
    assert status is not None
    return processes.ending(status).words.removesuffix(" before it reported its end")
