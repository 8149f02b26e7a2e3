"""`penstock server`: upkeep of the server's database."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from penstock.cli.options import OutputOption, group
from penstock.cli.output import Column, Output, say, show_json, show_record, show_rows
from penstock.client.client import Client
from penstock.model.upgrade import Rehearsal
from penstock.model.wire import reader

app = group()

_CHECKED = (
    Column("VERSION", lambda row: f"{row[0].template}@v{row[0].version}"),
    Column("CALLED", lambda row: row[0].reached_as),
    Column("STATE", lambda row: row[1].severity if row[1] else "runs"),
    Column("WHY", lambda row: row[1].message if row[1] else None),
)


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


@app.command()
def upgrade(
    check: Annotated[
        bool, typer.Option("--check", help="Say what this release makes of every template in use; change nothing.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring the database of this home up to this release of Penstock.

    The server does so too when it starts. The exit status of --check is 1 if a template in use would not run.
    """
    # Another program: this one never imports the server. -P: no file of the current directory is taken for a module.
    command = [sys.executable, "-P", "-m", "penstock.server", "--upgrade", "check" if check else "now"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if ended.returncode:
        raise typer.Exit(ended.returncode)
    found = reader(Rehearsal)(ended.stdout)
    if output is Output.JSON:
        show_json(found)
    else:
        show_rows([(one, finding) for one in found.checked for finding in one.findings or (None,)], _CHECKED)
        words = "has" if found.schema_now == found.schema_then else "would get" if check else "got"
        say(f"The database {words} schema {found.schema_then}, that of Penstock {found.release}.")
    if check and found.broken:
        raise typer.Exit(1)
