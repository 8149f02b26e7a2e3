"""`penstock server`: upkeep of the server's database."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli import databases
from penstock.cli.options import OutputOption, group
from penstock.cli.output import Output, say, show_record
from penstock.client.client import Client

app = group()
app.command()(databases.upgrade)


@app.callback()
def server() -> None:
    """Upkeep of the server's database."""


@app.command()
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would go.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove what is older than the settings of the server say that it is kept.

    The server does so by itself every minute. PENSTOCK_KEEP_RUNS, _LOGS, _EVENTS, _DECISIONS and _CODE say how long.
    """
    found = Client().server.sweep(dry_run=dry_run)
    fields = {
        "Runs": str(found.runs),
        "Runs that lose their output": str(found.logs),
        "Runs that lose their history": str(found.events),
        "Decisions": str(found.decisions),
        "Callbacks": str(found.callbacks),
        "Idempotency keys": str(found.idempotency_keys),
        "Code archives": str(found.code_archives),
    }
    show_record(found, fields, output)
    if output is Output.TABLE:
        say("Nothing was removed: this was a rehearsal." if dry_run else "They are removed.")
