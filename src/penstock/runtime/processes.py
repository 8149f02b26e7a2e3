"""Processes of a run: marked, found and ended as a whole; and how one ended, in words.

A run process leads its own session. What it starts can leave that session (a daemon does), lose its parent, or hide its
environment, so there are four ways to belong to a run: to be its process, to be in its session or group, to carry its
id in the environment, and to descend from one that belongs. Who carries another mark never belongs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from penstock.ids import is_id
from penstock.model.launch import NO_RUN, RUN_VARIABLE

PLACEHOLDER = "warm".ljust(36, "-")
"""The mark of a warm parent: no run, and as long as a run's id, which its forks write over it."""

PATIENCE = 30.0
"""Seconds for which processes that do not die of SIGKILL (they hang inside the kernel) are waited for."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
_libc.getenv.restype = ctypes.c_void_p
# Taken at once, before user code can change the environment and so make the C library forget this place.
_mark_at: int | None = _libc.getenv(RUN_VARIABLE.encode())


def die_with(parent: int) -> None:
    """Have the kernel kill this process (SIGKILL) when the thread that started it, in process `parent`, ends.

    Linux only; elsewhere nothing is promised.
    """
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before it could be watched
            os._exit(0)


def adopt_orphans() -> bool:
    """Become the parent of every descendant whose own parent ends; whether this system can do that (Linux can)."""
    return sys.platform == "linux" and bool(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0)


def mark(run_id: str) -> None:
    """Make this process, and all that it will start, carry the run's id where other processes can read it.

    The system shows the environment that a program was started with. A fork has its parent's, so the id is written over
    the parent's `PLACEHOLDER` in memory.
    """
    new, old = run_id.encode(), PLACEHOLDER.encode()
    if _mark_at and len(new) == len(old) and ctypes.string_at(_mark_at) == old:
        ctypes.memmove(_mark_at, new, len(new))
    os.environ[RUN_VARIABLE] = run_id


def prefer_as_oom_victim() -> None:
    """When memory runs out, let the kernel choose a run rather than who looks after it."""
    with suppress(OSError):  # not Linux, or somebody set it higher already
        Path("/proc/self/oom_score_adj").write_text("500")


def start(command: list[str], *, stdin: int, environment: dict[str, str]) -> int:
    """Start a program in a session of its own; its output goes where ours goes. Returns its pid; raises `OSError`."""
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0)]
    return os.posix_spawn(command[0], command, environment, file_actions=actions, setsid=True, setsigmask=())


def leave_stdin() -> None:
    """Let nobody read our standard input: it carried credentials."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def tell(pid: int, *signals: int) -> None:
    """Send signals to a run process and to its group, if they are there."""
    for number in signals:
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # just forked: it leads no group yet
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def children() -> set[int]:
    """The pids of this process's children, adopted ones included."""
    tasks = Path("/proc/self/task")
    try:
        lists = [(task / "children").read_text() for task in tasks.iterdir()]
    except OSError:  # not Linux, or a kernel without these lists
        return {child.pid for child in psutil.Process().children()}
    return {int(pid) for text in lists for pid in text.split()}


def end_run(run_id: str, root: int, *, grace: float = 0) -> list[int]:
    """End every process of a run: SIGTERM to all, and after `grace` seconds SIGKILL until nothing is left.

    `root` is the pid that the run process has or had. Blocks until all are gone. Returns the pids of those that SIGKILL
    did not end in `PATIENCE` seconds.
    """
    assert is_id(run_id), "any other mark is carried by processes of other homes, too"

    def own(one: _Seen) -> bool:
        # A mark that is still the warm parent's means that the process was forked just now.
        return one.mark == run_id or (one.mark in (None, PLACEHOLDER) and root in (one.session, one.group))

    return _end(own, lambda one: one.mark not in (None, run_id), grace)


def end_tree(root: int) -> list[int]:
    """End (SIGKILL) a process, its session and all descendants, except runs and what is marked as part of none.

    Blocks and returns like `end_run`.
    """

    def own(one: _Seen) -> bool:
        return one.pid == root or (one.session == root and not foreign(one))

    def foreign(one: _Seen) -> bool:
        return one.mark == NO_RUN or (one.mark is not None and is_id(one.mark))

    return _end(own, foreign)


def end_strays(pids: Collection[int]) -> list[int]:
    """End (SIGKILL) those of these processes that neither a warm parent nor anybody outside of runs has started.

    Their descendants end with them. Blocks and returns like `end_run`.
    """

    def foreign(one: _Seen) -> bool:
        return one.mark in (NO_RUN, PLACEHOLDER)

    return _end(lambda one: one.pid in pids and not foreign(one), foreign)


def end_remains(home: str) -> list[int]:
    """End (SIGKILL) what an earlier supervisor of this home left behind: its runs and its warm parents.

    Blocks and returns like `end_run`.
    """

    def own(one: _Seen) -> bool:
        return one.home == home and one.mark is not None and (one.mark == PLACEHOLDER or is_id(one.mark))

    return _end(own, lambda one: one.mark == NO_RUN)


@dataclass(frozen=True)
class Ending:
    """How a process ended. `words` go on after "The process ..."."""

    status: int | None
    signal: int | None
    words: str


def ending(wait_status: int, *, out_of_memory: bool = False) -> Ending:
    """What a status from `waitpid` says; `out_of_memory` if the kernel is known to have killed for want of memory."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return Ending(code, None, f"exited with status {code} before it reported its end")
    if -code == signal.SIGKILL:
        if out_of_memory:
            return Ending(None, -code, "ran out of memory: the kernel killed it (SIGKILL)")
        return Ending(None, -code, "was killed by SIGKILL: most often the kernel's out-of-memory killer")
    return Ending(None, -code, f"was killed by {_signal_name(-code)}")


class MemoryWatch:
    """Tells whether the kernel killed for want of memory in the control group of a process since this was made."""

    def __init__(self, pid: int) -> None:
        self._file = _memory_events(pid)
        self._before = self._kills()

    def killed(self) -> bool:
        """Whether it did. False also where the system does not count."""
        return self._kills() > self._before

    def _kills(self) -> int:
        try:
            lines = self._file.read_text().splitlines() if self._file else []
        except OSError:  # the group went away with its last process
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


@dataclass(frozen=True)
class _Seen:
    """One process at one moment."""

    process: psutil.Process
    parent: int
    session: int
    group: int
    mark: str | None
    home: str | None

    @property
    def pid(self) -> int:
        return self.process.pid


_Test = Callable[[_Seen], bool]


def _end(own: _Test, foreign: _Test, grace: float = 0) -> list[int]:
    """End all that is `own`, with the descendants that are not `foreign`."""
    known: set[psutil.Process] = set()
    term_until = time.monotonic() + grace
    kill_until = term_until + PATIENCE
    pause, told = 0.005, grace <= 0
    while True:
        seen = _look()
        family = _family(own, foreign, known, seen)
        at = time.monotonic()
        if not family or at > kill_until:
            return [one.pid for one in family]
        # A descendant that loses its parent in the meantime is still known.
        known |= {one.process for one in family}
        if at >= term_until:
            _signal(family, seen, signal.SIGKILL)
        elif not told:
            _signal(family, seen, signal.SIGTERM, signal.SIGCONT)  # a stopped process takes no SIGTERM
            told = True
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _look() -> list[_Seen]:
    """All live processes."""
    seen = []
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):  # it has gone in the meantime, or is no business of ours
            process = psutil.Process(pid)
            with process.oneshot():
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                parent = process.ppid()
            try:
                environment = process.environ()
            except (psutil.AccessDenied, OSError):  # another user's, or one that hides (ssh-agent does)
                environment = {}
            mark, home = environment.get(RUN_VARIABLE), environment.get("PENSTOCK_HOME")
            seen.append(_Seen(process, parent, os.getsid(pid), os.getpgid(pid), mark, home))
    return seen


def _family(own: _Test, foreign: _Test, known: set[psutil.Process], seen: list[_Seen]) -> list[_Seen]:
    possible = [one for one in seen if own(one) or not foreign(one)]
    pids = {one.pid for one in possible if own(one) or one.process in known}
    before = 0
    while len(pids) > before:
        before = len(pids)
        pids |= {one.pid for one in possible if one.parent in pids}
    return [one for one in possible if one.pid in pids]


def _signal(family: list[_Seen], seen: list[_Seen], *signals: int) -> None:
    """Send to whole groups where nobody else is in them (a group cannot fork its way out of that), and to each one."""
    members = {one.pid for one in family}
    shared = {one.group for one in seen if one.pid not in members}
    for number in signals:
        for group in {one.group for one in family} - shared:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        for one in family:
            if one.group in shared or number == signal.SIGKILL:
                with suppress(psutil.Error):
                    one.process.send_signal(number)


def _memory_events(pid: int) -> Path | None:
    """The file in which the control group of `pid` counts its kills, in version 2 or 1 of control groups."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    root = Path("/sys/fs/cgroup")
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            places = [root / path.lstrip("/") / "memory.events", root / "memory.events"]
        elif "memory" in controllers.split(","):
            places = [root / "memory" / path.lstrip("/") / "memory.oom_control", root / "memory" / "memory.oom_control"]
        else:
            continue
        # Inside a container the path may be the host's while the mount begins at the container's own group.
        for place in places:
            if place.is_file():
                return place
    return None


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    described = signal.strsignal(number)
    return f"{name} ({described.lower()})" if described else name
