"""The server of this home on this machine: attach to it, start it if nobody has, replace an older one, stop it."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from penstock.client.transport import Transport
from penstock.errors import Conflict, HomeUnusable, ServerUnreachable
from penstock.model.launch import NO_RUN, RUN_VARIABLE, socket_path
from penstock.settings import Settings
from penstock.version import VERSION

PATIENCE = 30.0
"""Seconds to wait for a server that starts, or that makes room for another."""

_LOG_LIMIT = 10 * 1024 * 1024


def attach(settings: Settings) -> Transport:
    """A transport to the server of `settings.home`, which is started in the background if there is none.

    Raises `HomeUnusable` if the home cannot be written, `ServerUnreachable` if the server does not come up.
    """
    transport = _running(settings)
    if transport is not None:
        return transport
    _prepare(settings.home)
    with _locked(settings.home / "start.lock", PATIENCE):
        transport = _running(settings)  # somebody else may have been first
        if transport is None:
            _step_aside(settings)
            _start(settings)
            transport = Transport(address(settings))
    return transport


def address(settings: Settings) -> str:
    """The address of the server of this home, whether or not it runs."""
    return f"unix:{socket_path(settings.home, 'server.sock')}"


def status(settings: Settings) -> dict[str, Any] | None:
    """What the running server of this home says of itself; None if there is none."""
    if not _answers(settings):
        return None
    transport = Transport(address(settings), timeout=5)
    try:
        info = transport.request("GET", "/info").json()
    except ServerUnreachable:
        return None
    finally:
        transport.close()
    return info if isinstance(info, dict) else None


def down(settings: Settings, *, wait: bool = False, cancel: bool = False) -> bool:
    """Stop the server of this home and everything it started; False if none ran.

    With runs under way it refuses (`Conflict`), unless `wait` (until they have ended) or `cancel` says otherwise.
    Returns when the server and its supervisor have gone.
    """
    if not _answers(settings):
        if not _answers(settings, "supervisor.sock"):
            return False
        # The server was killed and what it started lives on: only a server knows its runs, and can let it go.
        attach(replace(settings, quiet=True)).close()
    request = {"reason": "penstock down", "wait": wait, "cancel": cancel}
    Transport(address(settings), timeout=None if wait else PATIENCE).request("POST", "/server/stop", json=request)
    # Both processes hold a lock for as long as they live.
    with _locked(settings.home / "server.lock", PATIENCE), _locked(settings.home / "supervisor.lock", PATIENCE):
        return True


def _running(settings: Settings) -> Transport | None:
    """A transport to the server that is there, unless it is older than this Penstock."""
    if not _answers(settings):
        return None
    told = _told(settings)
    if told is not None and _release(str(told.get("version", ""))) < _release(VERSION):
        return None
    return Transport(address(settings))


def _answers(settings: Settings, name: str = "server.sock") -> bool:
    """Whether a process accepts connections on this socket; a socket file alone means nothing."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(socket_path(settings.home, name)))
        except OSError:
            return False
    return True


def _told(settings: Settings) -> dict[str, Any] | None:
    """What the server wrote about itself when it came up."""
    try:
        told = msgspec.json.decode((settings.home / "server.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return told if isinstance(told, dict) else None


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _step_aside(settings: Settings) -> None:
    """Ask an older server to make room. Its runs go on: they are carried by processes of their own."""
    if _answers(settings):
        try:
            request = {"reason": f"replaced by {VERSION}", "replace": True}
            Transport(address(settings), timeout=PATIENCE).request("POST", "/server/stop", json=request)
        except ServerUnreachable:
            pass  # it left between the two calls, which is what was wanted


def _prepare(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(home, error) from error


def _unusable(home: Path, error: OSError) -> HomeUnusable:
    why = {
        errno.EROFS: "it lies on a read-only file system",
        errno.EACCES: "you may not write there",
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.ENOTDIR: "a part of its path is a file",
        errno.EEXIST: "it is a file",
    }.get(error.errno or 0, str(error))
    return HomeUnusable(
        f"Penstock cannot use its home {home}: {why}. Set PENSTOCK_HOME to a directory that can be written."
    )


@contextmanager
def _locked(path: Path, patience: float) -> Iterator[None]:
    """Hold the file lock at `path`. Raises `Conflict` if somebody else keeps it for longer than `patience` seconds."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path.parent, error) from error
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Conflict(f"{path} is still held by another process after {patience:.0f} s.") from None
                time.sleep(0.005)  # flock has no timeout of its own
        yield
    finally:
        os.close(handle)


def _start(settings: Settings) -> None:
    """Start the server as a process of its own and wait until it says that it serves."""
    log = settings.home / "logs" / "server.log"
    try:
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(settings.home, error) from error
    said, say = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock.server", "--background", "--ready-fd", str(say)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(say,),
            start_new_session=True,
            # A server that is started from inside a run is no part of that run, and does not end with it.
            env={**os.environ, "PENSTOCK_HOME": str(settings.home), RUN_VARIABLE: NO_RUN},
        )
    finally:
        os.close(output)
        os.close(say)
    with os.fdopen(said) as reader:
        answer = reader.read().strip()  # ends when the server has closed its side, or died
    if answer != "ready":
        process.wait()
        raise ServerUnreachable(answer or f"The server could not be started; {log} says why.")
    # The process outlives this one; telling Popen so keeps it from warning about a child that still runs.
    process.returncode = 0
    if not settings.quiet:
        line = f"penstock: started the server of {settings.home} in the background (pid {process.pid}; `penstock down` stops it)"
        print(line, file=sys.stderr)
