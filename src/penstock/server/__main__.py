"""`python -m penstock.server`: the server of one home, in the background or in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import socket
import ssl
import sys
import time
from dataclasses import replace
from typing import TextIO

import uvicorn
import uvloop
from fastapi.concurrency import run_in_threadpool

from penstock.control import runs as control
from penstock.control import users
from penstock.control.installation import Installation
from penstock.errors import PenstockError
from penstock.inbound import inbound
from penstock.model.launch import SERVICES, socket_path
from penstock.model.run import CLAIMED, RunState
from penstock.server import logs
from penstock.server.app import create_app, open_installation
from penstock.server.doors import Server, services_socket, tcp_socket, tls, unix_socket
from penstock.server.locks import only_server
from penstock.server.problems import bare
from penstock.server.routes.server import StopServer
from penstock.settings import Settings
from penstock.store import callbacks, runs
from penstock.store.paging import Window
from penstock.store.session import WriteSession
from penstock.version import VERSION

log = logging.getLogger("penstock.server")

KEEP_ALIVE = 75
"""Seconds for which an idle connection is kept: longer than clients trust one (`client.transport.IDLE`)."""

LAST_ANSWERS = 10
"""Seconds that answers under way may take once the server is told to leave."""

_PATIENCE = 30.0


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to leave. The exit status is 0 then, and 1 if the server could not start."""
    options = _parser().parse_args(arguments)
    settings = Settings.load()
    ready = os.fdopen(options.ready_fd, "w") if options.ready_fd is not None else None
    try:
        logs.configure(settings.log_format)
        with only_server(settings.home, _PATIENCE):
            _serve(settings, options, ready)
    except Exception as error:  # noqa: BLE001  # whoever started us must hear of it, whatever it is
        _tell(f"The server of {settings.home} could not start: {error}", ready)
        return 1
    return 0


def _tell(why: str, ready: TextIO | None) -> None:
    """Tell whoever started this server why it ends; failing that, the log. The disk with the log may be full."""
    try:
        if ready is not None and not ready.closed:
            print(why, file=ready)
            ready.close()
        else:
            print(why, file=sys.stderr, flush=True)
    except OSError:
        pass


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m penstock.server", description=__doc__)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--foreground", action="store_true", help="serve TCP besides the socket, and say where")
    how.add_argument("--background", action="store_true", help="serve the socket alone, and leave when idle for long")
    parser.add_argument("--host", default=None)
    parser.add_argument("--port", type=int, default=None)
    parser.add_argument("--ready-fd", type=int, default=None, help=argparse.SUPPRESS)
    return parser


def _serve(settings: Settings, options: argparse.Namespace, ready: TextIO | None) -> None:
    secured = tls(settings)
    path = socket_path(settings.home, "server.sock")
    services = socket_path(settings.home, SERVICES)
    sockets = [unix_socket(path, settings.home), services_socket(services, settings.home)]
    url = None
    if not options.background:
        tcp = tcp_socket(options.host or settings.host, settings.port if options.port is None else options.port)
        sockets.append(tcp)
        host, port = tcp.getsockname()[:2]
        url = f"{'https' if secured else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    if not options.background:  # what is asked for here goes before the environment
        settings = replace(settings, host=options.host or settings.host)
    installation = open_installation(settings, f"unix:{path}", f"unix:{services}")
    process = Process(installation, url, secured, idle=settings.idle if options.background else 0)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(process.serve(sockets, ready))
    finally:
        for name in (path, services, settings.home / "server.json"):
            name.unlink(missing_ok=True)


class Process:
    """The server as a process: when it is ready, when it is idle, and how it leaves."""

    def __init__(
        self, installation: Installation, url: str | None, secured: ssl.SSLContext | None, *, idle: float
    ) -> None:
        self._installation = installation
        self._url = url
        self._idle = idle
        self._last_request = time.monotonic()
        app = create_app(installation, url=url, leave=self.leave)

        async def counted(scope: dict[str, object], receive: object, send: object) -> None:
            self._last_request = time.monotonic()
            await app(scope, receive, send)  # type: ignore[arg-type]  # ASGI, passed through untouched

        config = uvicorn.Config(
            counted,
            loop="none",  # it runs in ours
            http=inbound(bare),
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=LAST_ANSWERS,
        )
        drain = installation.settings.drain if url is not None else 0.0
        self._server = Server(config, secured=secured, leaving=installation.drain, drain=drain)

    async def serve(self, sockets: list[socket.socket], ready: TextIO | None) -> None:
        """Serve until told to leave."""
        serving = asyncio.create_task(self._server.serve(sockets=sockets))
        while not self._server.started and not serving.done():  # noqa: ASYNC110  # uvicorn offers no event for this
            await asyncio.sleep(0.001)  # uvicorn offers no event for this
        if self._server.started:
            gc.freeze()  # what is there now stays: to look at all of it takes longer than to take in a hundred runs
            self._announce(ready)
        watching = asyncio.create_task(self._leave_when_idle())
        try:
            await serving
        finally:
            watching.cancel()

    async def leave(self, wanted: StopServer) -> None:
        """Begin to leave, when what was asked for has happened. Requests under way are answered first."""
        log.info("leaving: %s", wanted.reason or "asked to")
        if wanted.cancel:
            await run_in_threadpool(self._cancel_all)
        if wanted.cancel or wanted.wait:
            if not self._installation.db.one_writer:
                self._installation.drain()  # what is queued is for the other servers
            while await run_in_threadpool(self._under_way):
                with self._installation.bell.subscribe("queue", asyncio.get_running_loop()) as rung:
                    await rung.wait_async(0.2)
        self._server.should_exit = True

    def _announce(self, ready: TextIO | None) -> None:
        settings = self._installation.settings
        told = {"version": VERSION, "pid": os.getpid(), "socket": self._installation.address, "url": self._url}
        draft = settings.home / "server.json.new"
        draft.write_text(json.dumps(told))
        draft.replace(settings.home / "server.json")
        if ready is not None:
            print("ready", file=ready)
            ready.close()
        if self._url is not None:
            print(f"Penstock {VERSION} serves {settings.home} at {self._url} (Ctrl-C stops it).", flush=True)
            self._invite()

    def _invite(self) -> None:
        """Say how the first person gets an account; the code is good once, and shown nowhere else."""
        try:
            code = users.set_up_code(self._installation)
        except PenstockError as error:  # a full disk, perhaps: the owner's socket works all the same
            log.warning("no set-up code could be made: %s", error.detail)
            return
        if code is not None:
            print(f"No person has an account yet. To make the first one: penstock user activate --url {self._url}")
            print(f"It asks for this code, which is good once, for a day: {code}", flush=True)

    async def _leave_when_idle(self) -> None:
        while self._idle:
            left = self._idle - (time.monotonic() - self._last_request)
            if left <= 0 and not await run_in_threadpool(self._needed):
                log.info("leaving: nothing to do for %.0f s", self._idle)
                self._server.should_exit = True
                return
            await asyncio.sleep(max(left, min(self._idle, 60.0)))

    def _under_way(self) -> bool:
        """Whether something has to end before this server may leave. Of several, what is queued is no matter to one."""
        here = self._installation
        with here.db.read() as session:
            queued = runs.count_queued(session) if here.db.one_writer else 0
            return runs.count_active(session, here.place) + queued > 0

    def _needed(self) -> bool:
        """Whether there is something to do, now or later: nobody else would start this server again for it."""
        with self._installation.db.read() as session:
            if callbacks.has_open(session) or runs.has_queued(session):
                return True
        return self._under_way()

    def _cancel_all(self) -> None:
        """Cancel all that is queued or goes on; of several servers one cancels what goes on in its own home."""
        here = self._installation
        if not here.db.one_writer:
            return here.db.do(self._cancel_here)
        states = (RunState.QUEUED, *sorted(CLAIMED - {RunState.CANCELLING}))
        with here.db.write() as session:
            while live := runs.page(session, Window(size=200), runs.RunFilter(states=states)).items:
                for run in live:
                    control.cancel(session, here, run.id)
        return None

    def _cancel_here(self, session: WriteSession) -> None:
        for run in runs.held_in(session, self._installation.place):
            control.cancel(session, self._installation, run.id)


if __name__ == "__main__":
    for noticed in (signal.SIGTERM, signal.SIGINT):
        # uvicorn leaves in good order and then raises the signal again: the exit status is ours to give.
        signal.signal(noticed, lambda *_: None)
    sys.exit(main())
