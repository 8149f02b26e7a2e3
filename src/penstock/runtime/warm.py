"""A warm parent: a process that has imported a pipeline's code and forks a run from it for every order.

It is single-threaded, because a fork copies one thread only: a lock that another one held would stay locked for ever.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

from penstock.errors import PenstockError
from penstock.model.launch import Ticket
from penstock.runtime import processes, workplace
from penstock.runtime.orders import Declined, Exited, Fork, Forked, Forking, FromParent, ToParent
from penstock.runtime.randomness import Randomness

PRELOADED = (
    "penstock.author.results",
    "penstock.author.returns",
    "penstock.model.graph",
    "penstock.runtime.materializers",
    "penstock.runtime.run",
    "penstock.stack.flavors.file_store",
    "pydantic",
    "pydantic.type_adapter",
)
"""What every run needs, imported before the first order comes: what is missing here every fork imports for itself."""

BROKEN = 70
"""Exit status of a run process that ended by an error of Penstock itself (EX_SOFTWARE, sysexits.h)."""


class Warm:
    """Answers the orders that come over `channel`.

    `load` imports the pipeline that a source names from a directory; each forked process calls `run` and exits.
    """

    def __init__(
        self, channel: socket.socket, load: Callable[[str, Path], object], run: Callable[[Ticket], int]
    ) -> None:
        self._channel = channel
        self._load = load
        self._run = run
        self._pid = os.getpid()
        self._unread = b""
        self._decode = msgspec.json.Decoder(ToParent).decode
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._waiting: deque[Fork] = deque()
        self._runs: dict[int, str] = {}
        self._code: Path | None = None
        self._place = ExitStack()
        self._imported: set[str] = set()
        self._randomness = Randomness()
        self._child_handler: Callable[[int, FrameType | None], object] | int | None = signal.SIG_DFL

    def serve(self) -> None:
        """Answer orders until the other side closes. Runs that are alive then have lost their supervisor: they are ended."""
        gc.disable()  # a collection in a fork would copy every page it looks at; what is here is here to stay
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        self._listen_for_exits()
        try:
            while True:
                self._wait()
                self._take_all()
                while self._waiting:
                    self._answer(self._waiting[0])
        except (EOFError, ConnectionError):
            for pid, run_id in self._runs.items():
                processes.end_run(run_id, pid)
        finally:
            os.chdir("/")
            self._place.close()

    # Orders

    def _wait(self) -> None:
        """Wait until there may be something to do."""
        with self._hearing_of_exits():
            select.select([self._channel.fileno(), self._woken], [], [])
        with suppress(BlockingIOError):
            os.read(self._woken, 1 << 12)

    def _take_all(self) -> None:
        """Take in the orders that have come. Raises `EOFError` when there will be no more."""
        with suppress(BlockingIOError):
            while True:
                self._take(self._channel.recv(1 << 16, socket.MSG_DONTWAIT))

    def _take(self, data: bytes) -> None:
        if not data:
            raise EOFError
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            order = self._decode(line)
            if isinstance(order, Fork):
                self._waiting.append(order)
            else:
                self._drop(order.run_id)

    def _drop(self, run_id: str) -> None:
        dropped = [order for order in self._waiting if order.ticket.run_id == run_id]
        for order in dropped:
            self._waiting.remove(order)
            self._say(Declined(run_id, "was cancelled before it started"))

    def _answer(self, order: Fork) -> None:
        run_id = order.ticket.run_id
        try:
            self._prepare(order.ticket)
            refusal = self._unsafe(run_id)
        except (PenstockError, OSError, msgspec.MsgspecError) as error:
            refusal = Declined(run_id, f"could not be started: {error}")
        self._take_all()  # importing takes long: the run may have been dropped meanwhile
        if not self._waiting or self._waiting[0] is not order:
            return
        self._waiting.popleft()
        if refusal is not None:
            self._say(refusal)
        else:
            self._fork(order.ticket)

    def _say(self, message: FromParent) -> None:
        self._channel.sendall(msgspec.json.encode(message) + b"\n")

    # Importing

    def _prepare(self, ticket: Ticket) -> None:
        """Get the code, and import this run's pipeline if no run before had the same."""
        if self._code is None:
            self._code = workplace.enter_code(ticket)
            name = workplace.warm_place(ticket.home, self._pid).name
            os.chdir(self._place.enter_context(workplace.working_directory(ticket.home, name, self._code)))
        if ticket.source in self._imported:
            return
        self._imported.add(ticket.source)
        with self._hearing_of_exits():
            try:
                for name in ticket.preload:
                    importlib.import_module(name)
                self._load(ticket.source, self._code)
            except BaseException:  # noqa: BLE001  (user code; the run imports it again, and reports what happens)
                traceback.print_exc()
        handler = signal.getsignal(signal.SIGCHLD)
        if handler != self._reap:  # the module wants to hear of its children: in the runs it may
            self._child_handler = handler
        self._listen_for_exits()
        self._reap()
        self._randomness.imported()
        _flush()
        gc.freeze()

    def _unsafe(self, run_id: str) -> Declined | None:
        others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        if not others:
            return None
        return Declined(run_id, f"importing its code starts threads ({', '.join(others)})", spawn=True)

    # Children

    def _fork(self, ticket: Ticket) -> None:
        self._say(Forking(ticket.run_id))
        try:
            pid = os.fork()
        except OSError as error:
            self._say(Declined(ticket.run_id, f"could not be started: {error.strerror}"))
            return
        if pid == 0:
            self._become(ticket)
        self._runs[pid] = ticket.run_id
        self._say(Forked(ticket.run_id, pid))

    def _become(self, ticket: Ticket) -> NoReturn:
        """The forked process, from here to its end."""
        status = BROKEN
        try:
            processes.die_with(self._pid)
            os.setsid()
            processes.mark(ticket.run_id)
            processes.prefer_as_oom_victim()
            self._channel.close()
            signal.set_wakeup_fd(-1)
            os.close(self._woken)
            os.close(self._waker)
            signal.signal(signal.SIGCHLD, self._child_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            _disown_exit_handlers()
            self._randomness.forked()
            gc.enable()
            assert self._code is not None
            status = workplace.carry_out(ticket, self._code, self._run, run_exit_handlers)
        except BaseException:  # noqa: BLE001  (nothing may return into the parent's loop)
            traceback.print_exc()
        finally:
            _flush()
            os._exit(status)

    def _listen_for_exits(self) -> None:
        signal.signal(signal.SIGCHLD, self._reap)
        # The handler runs between two lines of Python: a signal just before `select` must end that, too.
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    @contextmanager
    def _hearing_of_exits(self) -> Iterator[None]:
        """Only here the signal handler may run: nowhere else does it come between a fork and its record."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})

    def _reap(self, *_: object) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # one at a time
        try:
            for pid in list(self._runs):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._say(Exited(self._runs.pop(pid), status))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_exit_handlers() -> None:
    """Run what this process registered with `atexit`, now. What a handler raises has been printed by then."""
    with suppress(BaseException):
        atexit._run_exitfuncs()  # noqa: SLF001  (the interpreter's own end is not waited for: it joins threads)


def _disown_exit_handlers() -> None:
    """Exit handlers belong to the process that registered them; this is what `multiprocessing` does in its forks.

    A module may have made a temporary directory when it was imported: the first run to end must not remove it.
    """
    atexit._clear()  # noqa: SLF001
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]  # noqa: SLF001
        finalizer.atexit = False
    # These register themselves once in a process and its forks, for all that will be made later.
    atexit.register(logging.shutdown)
    if weakref.finalize._registered_with_atexit:  # type: ignore[attr-defined]  # noqa: SLF001
        atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]  # noqa: SLF001
    pools = sys.modules.get("multiprocessing.util")
    if pools is not None:
        atexit.register(pools._exit_function)  # noqa: SLF001


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # user code may have closed or replaced it
            stream.flush()


def main() -> None:
    """`python -m penstock.runtime.warm`: serve the supervisor at the other end of standard input."""
    channel = socket.socket(fileno=os.dup(0))
    processes.leave_stdin()
    os.umask(0o077)
    for name in PRELOADED:
        importlib.import_module(name)
    # Imported late: these bring all that a run needs, which `python -m penstock.runtime` imports in its own order.
    from penstock.author.source import load_source
    from penstock.runtime.run import main as run

    gc.freeze()
    Warm(channel, load_source, run).serve()


if __name__ == "__main__":
    main()
