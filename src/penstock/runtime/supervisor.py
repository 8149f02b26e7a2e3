"""The supervisor: one light process for each home that looks after its runs, and outlives the server that started it.

It runs no user code. Each run is a process that a warm parent forks, or a new interpreter where that is not possible.
What a run leaves behind comes to the supervisor as to its new parent, and is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import fcntl
import logging
import os
import platform
import signal
import socket
from collections import OrderedDict
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from penstock.client.transport import Transport
from penstock.errors import PenstockError
from penstock.ids import is_digest, is_id
from penstock.model.launch import NO_RUN, RUN_VARIABLE, Exit, Held, Orders, Report, Ticket, place_of, socket_path
from penstock.runtime import processes, workplace
from penstock.runtime.children import FAREWELL, Children, Lost, NotStarted, Parent, Parents, RunProcess
from penstock.runtime.housing import Housing, Unbuilt
from penstock.runtime.ledger import Ledger
from penstock.runtime.orders import Answer, FromLauncher, Launch, Leave, Stop
from penstock.runtime.spool import crash, last_words
from penstock.settings import Settings
from penstock.stack.flavors.local import PATIENCE, claim_directory
from penstock.version import VERSION

log = logging.getLogger("penstock.supervisor")

SILENCE = 10.0
"""After so many leases without an answer from a server, a supervisor that holds no run leaves."""

LEFTOVERS = 1.0
"""Seconds that processes which outlive their run may take to stop after SIGTERM."""

_LONGEST_ORDER = 1 << 26


class Charge:
    """One claimed run in the supervisor's care."""

    def __init__(self, ticket: Ticket, earlier: Charge | None) -> None:
        self.ticket = ticket
        self.earlier = earlier
        """The same run under an older claim, which must be gone first."""
        self.parent: Parent | None = None
        self.process: RunProcess | None = None
        self.begun = asyncio.Event()
        """Its process is there, or will never be."""
        self.over = asyncio.Event()
        self.stopping: str | None = None
        self.halted = asyncio.Event()
        """It is to be stopped."""

        self.doing: str | None = None
        """What has to be done before its process can be started."""

        self.hold: int | None = None
        """Keeps the environment that it uses from being removed."""

        self.undead: list[int] = []
        """Pids that SIGKILL did not end."""


class Supervisor:
    """Looks after the runs of one home, and tells `server` of them."""

    def __init__(self, home: str, server: str, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        self._server = server
        self._transport = Transport(server, timeout=max(1.0, settings.lease / 2))
        self._line = ThreadPoolExecutor(1, "report")  # of its own: a heartbeat waits for nothing else
        self._owner = f"supervisor:{platform.node()}:{os.getpid()}{place_of(home)}"
        self._environment = _environment(home)
        self._children = Children()
        self._parents = Parents(self._children, self._environment, settings.warm_parents)
        self._orphans_come = processes.adopt_orphans()
        self._ledger = Ledger(home)
        self._charges: dict[str, Charge] = {}
        self._exits: dict[tuple[str, int], Exit] = {}
        self._done: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._housing = Housing(home, self._children, self._environment)
        self._never_fork: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._dismissed = False
        self._unheard = False
        """The last report was not taken."""

        self._leaving = False
        self._heard = 0.0
        self._socket = socket_path(home, "supervisor.sock")

    async def serve(self, ready: int | None) -> None:
        """Take orders until there is nothing left to do here. Writes `ready` to that descriptor when it begins."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._children.reap)
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        await asyncio.to_thread(processes.end_remains, self._home)
        workplace.remove_all(self._home)
        self._exits = {(exit.run_id, exit.fence): self._with_last_words(exit) for exit in self._ledger.recover()}
        self._heard = loop.time()
        self._socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._converse, self._socket, limit=_LONGEST_ORDER)
        inode = self._socket.stat().st_ino
        if ready is not None:
            with suppress(BrokenPipeError):  # our starter lost patience; the next one finds us here
                os.write(ready, b"ready")
            os.close(ready)
        log.info("supervisor %s of %s serves (pid %d)", VERSION, self._home, os.getpid())
        self._tidy()
        while not self._may_leave(inode):
            await _within(self._pause(), self._news.wait())
            self._news.clear()
            self._parents.trim()
            if self._charges or self._exits:
                await self._report()
            elif not self._dismissed:
                await self._look_for_server()
        if self._exits:
            await self._report()  # something may have ended while the last report was on its way
        log.info("supervisor leaves")
        self._leaving = True
        server.close()
        if _inode(self._socket) == inode:
            self._socket.unlink()
        await self._parents.close()
        await asyncio.to_thread(processes.end_remains, self._home)

    # Orders

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decode = msgspec.json.Decoder(FromLauncher).decode
        with suppress(OSError, ValueError):  # the other side has gone, or does not speak our language
            async for line in reader:
                if self._leaving:
                    break  # the launcher turns to the next supervisor
                try:
                    answer = self._obey(decode(line))
                except (msgspec.MsgspecError, OSError) as error:
                    answer = Answer(ok=False, error=str(error))
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        writer.close()

    def _obey(self, order: FromLauncher) -> Answer:
        if isinstance(order, Launch):
            return self._launch(order.ticket)
        if isinstance(order, Stop):
            charge = self._charges.get(order.run_id)
            if charge is not None:
                self._spawn_task(self._stop(charge, "cancelled"))
            return Answer(ok=True)
        if isinstance(order, Leave):
            self._dismissed = True
            self._news.set()
            return Answer(ok=True, left=not self._charges and not self._exits)
        held = [Held(run_id=run_id, fence=charge.ticket.fence) for run_id, charge in self._charges.items()]
        parents, spare, exits = self._parents.pids(), self._parents.spare, len(self._exits)
        return Answer(ok=True, version=VERSION, pid=os.getpid(), held=held, parents=parents, spare=spare, exits=exits)

    def _launch(self, ticket: Ticket) -> Answer:
        if not is_id(ticket.run_id) or not is_digest(ticket.code or ""):
            return Answer(ok=False, error=f"Run {ticket.run_name} has no archived code to run.")
        self._dismissed = False
        earlier = self._charges.get(ticket.run_id)
        claim = (ticket.run_id, ticket.fence)
        known = claim in self._done or (earlier is not None and earlier.ticket.fence >= ticket.fence)
        if not known and self._ledger.open(*claim):
            charge = Charge(ticket, earlier)
            self._charges[ticket.run_id] = charge
            self._spawn_task(self._care_for(charge))
        return Answer(ok=True)

    # One run

    async def _care_for(self, charge: Charge) -> None:
        """The whole way of one run, from the order to the exit that is to be reported."""
        ticket = charge.ticket
        if charge.earlier is not None:
            await self._stop(charge.earlier, "stale")
            await charge.earlier.over.wait()
            charge.earlier = None
        exit: dict[str, Any] = {"status": None}
        try:
            charge.process = await self._start(charge)
            charge.begun.set()
            exit |= await self._wait_for(charge, charge.process)
        except NotStarted as error:
            exit |= {"failure": str(error), "launched": False}
        except Unbuilt as error:
            exit |= {"failure": str(error), "launched": False, "last_words": error.last_words()}
        except Lost as error:
            exit |= {"failure": str(error)}
        except Exception:  # one run must not take the others with it
            log.exception("run %s", ticket.run_name)
            exit |= {"failure": "was lost by an error of the supervisor"}
        charge.begun.set()
        try:
            await self._clear_up(charge)
        except Exception:  # what is left must not keep the run from ending
            log.exception("what run %s left", ticket.run_name)
        if charge.undead:
            exit["failure"] += f"; these processes cannot be killed: {charge.undead}"
        self._ended(charge, Exit(run_id=ticket.run_id, fence=ticket.fence, **exit))

    async def _start(self, charge: Charge) -> RunProcess:
        executable = await self._lodge(charge)
        ticket, code = charge.ticket, charge.ticket.code
        assert code is not None
        key = (code, executable)
        try:
            if not charge.stopping and self._settings.launch == "fork" and key not in self._never_fork:
                charge.parent = self._parents.take(code, executable, charge.hold)
                try:
                    return await charge.parent.fork(ticket)
                except NotStarted as error:
                    if not error.spawn:
                        raise
                    self._parents.retire(charge.parent)
                    log.warning("run %s gets a new interpreter: %s", ticket.run_name, error)
                    if not charge.parent.leaving or not charge.parent.proven:
                        self._never_fork.add(key)
            if charge.stopping:
                raise NotStarted(f"was stopped before it started ({charge.stopping})")
            return self._spawn(ticket, executable)
        except OSError as error:
            raise NotStarted(f"could not be started: {error}") from error

    async def _lodge(self, charge: Charge) -> str:
        """The interpreter for this run. What has to be done for it is told to the server, and the outcome in the log."""

        def doing(what: str) -> None:
            charge.doing = what
            self._news.set()

        lodging = await self._housing.lodge(charge.ticket, charge.halted, doing)
        charge.doing, charge.hold = None, lodging.hold
        if lodging.note is not None:
            charge.ticket = dataclasses.replace(charge.ticket, notes=(*charge.ticket.notes, lodging.note))
        return lodging.executable

    def _spawn(self, ticket: Ticket, executable: str) -> RunProcess:
        """The run in a new interpreter, which gets the ticket over its standard input."""
        ours, theirs = socket.socketpair()
        try:
            command = [executable, "-P", "-m", "penstock.runtime", str(os.getpid())]
            environment = {**self._environment, RUN_VARIABLE: ticket.run_id}
            pid = processes.start(command, stdin=theirs.fileno(), environment=environment)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._spawn_task(_deliver(ours, msgspec.json.encode(ticket)))
        return RunProcess(pid, self._children.watch(pid))

    async def _wait_for(self, charge: Charge, process: RunProcess) -> dict[str, Any]:
        watch = processes.MemoryWatch(process.pid)
        status = await process.exited
        if status is None:
            fate = process.parent.fate if process.parent else None
            ending = processes.Ending(None, None, f"was killed, because its warm parent {fate}")
        else:
            ending = processes.ending(status, out_of_memory=watch.killed())
        stopped = charge.stopping and ending.status is None
        words = f"was stopped ({charge.stopping})" if stopped else ending.words
        return {"status": ending.status, "signal": ending.signal, "failure": words}

    async def _clear_up(self, charge: Charge) -> None:
        """End what outlived the run, and remove its files."""
        run_id, root = charge.ticket.run_id, charge.process.pid if charge.process else None
        # Where orphans come to us, nothing can be left of a run without a stray among our children.
        if root is not None and (not self._orphans_come or self._children.strays()):
            grace = 0.0 if charge.stopping else LEFTOVERS
            charge.undead = await asyncio.to_thread(processes.end_run, run_id, root, grace=grace)
            others = self._charges.keys() - {run_id}
            strays = set() if others else self._children.strays()
            if strays:  # they hid their environment, but now they can be of no other run
                await asyncio.to_thread(processes.end_strays, strays)
        place = workplace.place(self._home, run_id)
        if place.exists():
            await asyncio.to_thread(workplace.remove, place)

    def _ended(self, charge: Charge, exit: Exit) -> None:
        claim, exit = (exit.run_id, exit.fence), self._with_last_words(exit)
        if self._charges.get(exit.run_id) is charge:
            del self._charges[exit.run_id]
        if charge.hold is not None:
            os.close(charge.hold)
            charge.hold = None
        self._exits[claim] = exit
        try:
            self._ledger.end(exit)
        except OSError as error:  # a full disk must not keep the run from ending
            log.warning("the exit of run %s is not on disk: %s", charge.ticket.run_name, error)
        charge.over.set()
        self._tidy()
        self._news.set()

    def _tidy(self) -> None:
        """Let warm parents go that are not needed; if nothing else is to do, have one ready for new code."""
        self._parents.trim()
        if not self._charges and not self._leaving and self._settings.launch == "fork":
            self._parents.prepare()

    def _with_last_words(self, exit: Exit) -> Exit:
        """The exit with what the process could not report itself any more."""
        claim = (self._home, exit.run_id, exit.fence)
        words, traceback = last_words(*claim), crash(*claim)
        return dataclasses.replace(exit, last_words=words or exit.last_words, crash=traceback or exit.crash)

    async def _stop(self, charge: Charge, why: str) -> None:
        """End a run: SIGTERM to its group, SIGKILL to all of it after the grace. A second order changes nothing."""
        if charge.stopping:
            return
        charge.stopping = why
        charge.halted.set()
        ticket = charge.ticket
        grace = ticket.grace if why == "cancelled" else min(ticket.grace, ticket.lease / 3)
        if not charge.begun.is_set():
            if charge.parent is not None:
                charge.parent.drop(ticket.run_id)
            if not await _within(grace, charge.begun.wait()) and charge.parent is not None:
                charge.parent.abandon(ticket.run_id)
                self._parents.retire(charge.parent)
            await charge.begun.wait()
        if charge.process is None:
            return
        over = asyncio.ensure_future(charge.process.exited)
        if why == "stale":
            # The claim is lost, most often because the run has just ended: then its process is about to leave.
            await asyncio.wait({over}, timeout=grace)
        if not over.done():
            processes.tell(charge.process.pid, signal.SIGTERM, signal.SIGCONT)  # a stopped process takes no SIGTERM
            await asyncio.wait({over}, timeout=grace)
        if not over.done():
            await self._kill(charge)

    async def _kill(self, charge: Charge) -> None:
        """SIGKILL to all of a run, without more ado."""
        await charge.begun.wait()
        if charge.process is not None and not charge.process.exited.done():
            processes.tell(charge.process.pid, signal.SIGKILL)
            await asyncio.to_thread(processes.end_run, charge.ticket.run_id, charge.process.pid)
            await asyncio.wait({charge.process.exited}, timeout=FAREWELL)
            charge.process.end(None)  # its parent may hang and not see it end, or the kernel may hold on to it

    # The server

    def _pause(self) -> float:
        if not self._charges and not self._exits:
            return self._settings.lease
        leases = [charge.ticket.lease for charge in self._charges.values()]
        return min([1.0, *(lease / 5 for lease in leases)])

    async def _report(self) -> None:
        """A heartbeat: what we hold, what has ended. Exits are kept until the server has answered."""
        held = tuple(
            Held(run_id=run_id, fence=one.ticket.fence, doing=one.doing) for run_id, one in self._charges.items()
        )
        exits = dict(self._exits)
        report = Report(owner=self._owner, held=held, exits=tuple(exits.values()))
        try:
            orders = await asyncio.get_running_loop().run_in_executor(self._line, self._send, report)
        except (PenstockError, msgspec.MsgspecError) as error:
            log.debug("the server did not take the report: %s", error)
            self._unheard = True
            return
        self._unheard = False
        self._heard = asyncio.get_running_loop().time()
        for claim, exit in exits.items():
            del self._exits[claim]
            self._ledger.close(exit)
            self._done[claim] = None
        while len(self._done) > 1000:
            self._done.popitem(last=False)
        for run_id, why in orders.stop.items():
            charge = self._charges.get(run_id)
            if charge is not None and any(one.run_id == run_id and one.fence == charge.ticket.fence for one in held):
                self._spawn_task(self._stop(charge, why))

    def _send(self, report: Report) -> Orders:
        return msgspec.json.decode(self._transport.request("POST", "/launchers/report", json=report).body, type=Orders)

    async def _look_for_server(self) -> None:
        """Note whether the server is there, without a request: a server without requests may leave."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            await asyncio.get_running_loop().sock_connect(probe, self._server.removeprefix("unix:"))
            self._heard = asyncio.get_running_loop().time()

    # Leaving

    def _may_leave(self, inode: int) -> bool:
        if self._charges:
            return False
        # Exits that a leaving server hears no more are on disk, and the next supervisor tells them.
        if self._leaving or (self._dismissed and (not self._exits or self._unheard)):
            return True
        silent = asyncio.get_running_loop().time() - self._heard > SILENCE * self._settings.lease
        # Somebody removed the home, or serves in our place: nobody can reach us any more.
        return silent or _inode(self._socket) != inode

    def _terminate(self) -> None:
        log.info("SIGTERM: all runs are ended")
        self._leaving = True
        for charge in self._charges.values():
            charge.stopping = "its supervisor was told to leave"
            charge.halted.set()
            if charge.parent is not None and not charge.begun.is_set():
                charge.parent.kill()  # it may hang while importing
            self._spawn_task(self._kill(charge))
        self._news.set()

    def _spawn_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _within(seconds: float, work: Coroutine[Any, Any, Any]) -> bool:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return False
    return True


async def _deliver(channel: socket.socket, data: bytes) -> None:
    channel.setblocking(False)
    with channel, suppress(OSError):  # it died early: its exit says why
        await asyncio.get_running_loop().sock_sendall(channel, data)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _environment(home: str) -> dict[str, str]:
    """What the processes of runs inherit: ours, with paths that hold in another directory."""
    environment = {**os.environ, "PENSTOCK_HOME": home, RUN_VARIABLE: NO_RUN}
    path = environment.get("PYTHONPATH")
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in path.split(os.pathsep))
    return environment


def main() -> None:
    """`python -m penstock.runtime.supervisor --home H --server unix:S`: become the supervisor of a home, or end.

    With `--ready-fd` it goes into the background, and says `ready` there, or in words why not.
    """
    parser = argparse.ArgumentParser(prog="penstock.runtime.supervisor")
    parser.add_argument("--home", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--ready-fd", type=int)
    given = parser.parse_args()
    if given.ready_fd is not None and os.fork():
        os._exit(0)  # whoever started us need not wait for us later
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    os.umask(0o077)
    lock = os.open(Path(given.home) / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    signal.alarm(int(PATIENCE))  # another one may be leaving: it is waited for as long as our starter waits
    fcntl.flock(lock, fcntl.LOCK_EX)
    signal.alarm(0)
    claim_directory(socket_path(given.home, "supervisor.sock").parent, given.home)
    supervisor = Supervisor(given.home, given.server, Settings.load())
    os.chdir("/")
    asyncio.run(supervisor.serve(given.ready_fd))


if __name__ == "__main__":
    main()
