"""`penstock serve`: a pipeline as a service in the foreground."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.options import Source, group
from penstock.cli.output import say
from penstock.serve.foreground import keep_up
from penstock.serve.keeper import listening
from penstock.settings import Settings

app = group()


@app.command("serve")
def serve(
    source: Source,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="The port; 0 takes any that is free.")] = 8000,
    reload: Annotated[bool, typer.Option("--reload/--no-reload", help="Take up changes of the code.")] = True,
) -> None:
    """Serve a pipeline in the foreground, for development.

    Nothing is recorded; `penstock pipeline deploy` makes a deployment that is.
    """
    sock = listening(host, [port])
    address, found = sock.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    say(f"{source} is served at http://{shown}:{found} (Ctrl-C stops it).")
    with tempfile.TemporaryDirectory(prefix="penstock-serve-") as directory:
        keep_up(source, sock, Path(directory), str(Settings.load().home), reload=reload)
