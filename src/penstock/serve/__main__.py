"""`python -m penstock.serve PLAN`: one process that serves the plan in this file, on a socket that it was given or opens."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from penstock.author.pipeline import Pipeline
from penstock.author.source import load_source
from penstock.errors import PenstockError
from penstock.inbound import inbound
from penstock.model.deployment import Plan
from penstock.model.wire import reader
from penstock.runtime import patches, workplace
from penstock.serve.answers import problem
from penstock.serve.app import Parting, create_app
from penstock.serve.fetching import code_of
from penstock.serve.service import Service
from penstock.serve.tracking import Tracker

LINGER = 3.0
"""Seconds for which a service that leaves waits for the next request on a connection that is there."""

_OPTIONS: dict[str, Any] = {"access_log": False, "server_header": False, "timeout_keep_alive": 75}
"""What holds for uvicorn where the settings say nothing else."""

LAST_WORDS = 10.0
"""Seconds that telling the server of the last requests may take; what is not told then is told by the next process."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop. The exit status is 0 then, 1 if the service could not start."""
    parser = argparse.ArgumentParser(prog="python -m penstock.serve", description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--fd", type=int, default=None, help="a listening socket")
    parser.add_argument("--ready-fd", type=int, default=None, help="where to say that it is ready, or why not")
    parser.add_argument(
        "--directory", type=Path, default=None, help="where the code lies; the archive is not asked for"
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=None,
        help="where records and submitted requests are kept; by default beside the plan",
    )
    options = parser.parse_args(arguments)
    ready = options.ready_fd
    try:
        plan = reader(Plan)(options.plan.read_bytes())
        sock = socket.socket(fileno=options.fd) if options.fd is not None else _listening(plan)
        with _workplace(plan, options.directory) as directory:
            for name in plan.snapshot.content.environment.preload:
                import_module(name)
            pipeline = load_source(plan.snapshot.content.source, directory)
            state = options.state or options.plan.parent
            serve(plan, pipeline, sock, code=directory, spool=state / "spool", ready=ready)
    except BaseException as error:  # importing user code can raise anything, and whoever started us must hear
        if isinstance(error, KeyboardInterrupt):
            return 0
        _tell(ready, f"{type(error).__name__}: {error}")
        if not isinstance(error, PenstockError):
            raise
        sys.stderr.write(f"penstock: the service cannot start: {error}\n")
        return 1
    return 0


def serve(
    plan: Plan, pipeline: Pipeline, sock: socket.socket, *, code: Path, spool: Path, ready: int | None = None
) -> None:
    """Serve `pipeline` on a listening socket until a signal says to stop. Raises what its `on_init` raises."""
    settings = plan.settings
    tracker = Tracker(plan, spool)
    failures: list[BaseException] = []
    app = create_app(
        plan,
        lambda loop: Service(plan, pipeline, track=tracker.add, measures=tracker.measures, loop=loop),
        functions=pipeline.function_named,
        code=code,
        directory=spool.parent,
        failed=failures.append,
    )
    leaving = asyncio.Event()
    config = uvicorn.Config(
        Parting(app, leaving),
        loop="none",
        http=inbound(problem, settings.patience),
        ws="none",
        lifespan="on",
        log_level=settings.log_level if settings.log_level != "info" else "warning",
        timeout_graceful_shutdown=round(settings.drain) or 1,
        **(_OPTIONS | settings.uvicorn_kwargs),
    )
    server = _Server(config, ready, leaving)
    patches.install(tracker)
    tracker.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.serve(sockets=[sock]))
    except SystemExit:  # uvicorn's word for a start that failed
        if not failures:
            raise
        raise failures[0] from None
    finally:
        tracker.close(LAST_WORDS)
        patches.uninstall(tracker)
    if not server.started:
        raise PenstockError("The service did not start; its log says why.")


class _Server(uvicorn.Server):
    """uvicorn's server, which says that it is ready when it is."""

    def __init__(self, config: uvicorn.Config, ready: int | None, leaving: asyncio.Event) -> None:
        super().__init__(config)
        self._ready = ready
        self._leaving = leaving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Come up, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            _tell(self._ready, "ready")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections; those that are there end with their next answer, and idle ones after a while.

        To close them at once would meet requests that are on their way: their callers would be refused.
        """
        for server in self.servers:
            server.close()
        self._leaving.set()
        deadline = time.monotonic() + LINGER
        while self.server_state.connections and time.monotonic() < deadline and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # uvicorn offers no event for this
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: object) -> None:
        """Leave in good order; uvicorn would raise the signal again at the end."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Only the two that mean to stop, and the exit status is ours to give."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _listening(plan: Plan) -> socket.socket:
    family = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((plan.host, plan.port))
    except OSError as error:
        raise PenstockError(f"Port {plan.port} of {plan.host} cannot be used: {error.strerror}.") from error
    sock.listen(2048)
    return sock


@contextlib.contextmanager
def _workplace(plan: Plan, directory: Path | None) -> Iterator[Path]:
    """The directory of the code, and a working directory that looks like it; with `directory`, that one as it is."""
    if directory is not None:
        yield directory.resolve()
        return
    code = code_of(plan)
    sys.path.insert(0, str(code))
    with workplace.working_directory(plan.home, f"service-{plan.deployment_id}-{os.getpid()}", code) as here:
        os.chdir(here)
        try:
            yield code
        finally:
            os.chdir("/")


def _tell(ready: int | None, text: str) -> None:
    if ready is not None:
        with contextlib.suppress(OSError):
            os.write(ready, text.encode()[:4000])
            os.close(ready)


if __name__ == "__main__":
    sys.exit(main())
