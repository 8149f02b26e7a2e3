"""Where a run finds its files: the code cache of this machine, and a working directory of its own."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from penstock.author.archive import unpack
from penstock.client.transport import Transport
from penstock.errors import SourceNotFound
from penstock.model.launch import Ticket
from penstock.runtime.traces import traced


def code_directory(digest: str, *, home: str, fetch: Callable[[], bytes]) -> Path:
    """The unpacked code archive with this digest; `fetch` is called for its bytes if this machine does not have it.

    Safe to call from several processes at once. Raises what `fetch` raises, and `unpack` for a broken archive.
    """
    directory = code_path(home, digest)
    if not directory.is_dir():
        unpack(fetch(), directory, digest)
    return directory


def code_path(home: str, digest: str) -> Path:
    """Where this machine keeps the unpacked code archive with this digest."""
    return Path(home).resolve() / "cache" / "code" / digest


def enter_code(ticket: Ticket) -> Path:
    """Make the run's code importable in this process, before everything else. Returns its directory.

    Raises `SourceNotFound` for a run without archived code, `ServerUnreachable` if the code is not here and cannot be got.
    """
    digest = ticket.code
    if digest is None:
        raise SourceNotFound(f"Run {ticket.run_name} has no archived code: it can only run where it was written.")

    def fetch() -> bytes:
        with closing(Transport(ticket.server, ticket.token)) as transport:
            return transport.request("GET", f"/code/{digest}").body

    directory = code_directory(digest, home=ticket.home, fetch=fetch).resolve()
    sys.path.insert(0, str(directory))
    return directory


@contextmanager
def working_directory(home: str, name: str, code: Path) -> Iterator[Path]:
    """A fresh directory that looks like `code`, removed afterwards with all that was written into it.

    Python files are links, since nobody writes those; everything else is a copy, so that writing stays private.
    """
    directory = place(home, name)
    remove(directory)
    directory.mkdir(mode=0o700, parents=True)
    try:
        _mirror(code, directory)
        yield directory
    finally:
        remove(directory)


def carry_out(ticket: Ticket, code: Path, run: Callable[[Ticket], int], at_end: Callable[[], None]) -> int:
    """Call `run` in a working directory of its own, then `at_end` in the same place. Returns the exit status."""
    os.environ["PENSTOCK_HOME"] = ticket.home
    with working_directory(ticket.home, ticket.run_id, code) as directory:
        os.chdir(directory)
        try:
            status = traced(run, ticket)
            at_end()
        finally:
            os.chdir("/")
        return status


def place(home: str, name: str) -> Path:
    """Where the working directory `name` lies."""
    return Path(home) / "work" / name


def warm_place(home: str, pid: int) -> Path:
    """Where the working directory of the warm parent with this pid lies."""
    return place(home, f"warm-{pid}")


def remove(directory: Path) -> None:
    """Remove a working directory, whatever user code did to it. What cannot be removed stays for the next start."""
    if directory.is_symlink() or not directory.is_dir():
        directory.unlink(missing_ok=True)
        return
    with suppress(OSError):
        shutil.rmtree(directory)
        return
    _open_up(directory)
    shutil.rmtree(directory, ignore_errors=True)


def remove_all(home: str) -> None:
    """Remove every working directory: for the start of a supervisor, when no run of this home is alive."""
    with suppress(FileNotFoundError):
        for directory in list(place(home, "").iterdir()):
            remove(directory)


def _mirror(source: Path, target: Path) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            here = target / entry.name
            if entry.is_symlink():
                here.symlink_to(Path(entry.path).readlink())
            elif entry.is_dir():
                if entry.name != "__pycache__":
                    here.mkdir()
                    _mirror(Path(entry.path), here)
            elif entry.name.endswith(".py"):
                here.symlink_to(entry.path)
            else:
                shutil.copy(entry.path, here)
                here.chmod(here.stat().st_mode | stat.S_IWUSR)


def _open_up(directory: Path) -> None:
    """Give ourselves the right to empty these directories."""
    directory.chmod(0o700)
    for parent, names, _ in os.walk(directory):
        for name in names:
            child = Path(parent, name)
            if not child.is_symlink():
                child.chmod(0o700)
