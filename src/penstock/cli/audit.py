"""`penstock audit`: who did what, and whether the log is whole."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from penstock.cli.failures import FAILED
from penstock.cli.options import CursorOption, OutputOption, SizeOption, group
from penstock.cli.output import Column, Output, say, show_list, show_record
from penstock.client.client import Client
from penstock.model.audit import Entry

app = group()


def _by(entry: Entry) -> str:
    return entry.account or entry.kind


_COLUMNS = (
    Column("AT", lambda entry: entry.at),
    Column("WHO", _by),
    Column("ACTION", lambda entry: entry.action),
    Column("OBJECT", lambda entry: entry.object),
    Column("OUTCOME", lambda entry: entry.outcome if entry.outcome == "done" else f"refused ({entry.status})"),
    Column("FROM", lambda entry: entry.address),
    Column("KEY", lambda entry: entry.key_id, spare=True),
    Column("NUMBER", lambda entry: entry.number, spare=True),
)


@app.command("list")
def list_entries(
    action: Annotated[str | None, typer.Option("--action", help="For example start_run.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="The name of an account.")] = None,
    about: Annotated[str | None, typer.Option("--object", help="For example run_templates/train.")] = None,
    key_id: Annotated[str | None, typer.Option("--key", help="The id of an API key.")] = None,
    address: Annotated[str | None, typer.Option("--from", help="An address.")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    since: Annotated[str | None, typer.Option("--since", help="A time with its zone: 2026-01-31T00:00:00Z.")] = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List who did what, newest first."""
    page = Client().audit.list(
        size=size,
        cursor=cursor,
        action=action,
        account=account,
        object=about,
        key_id=key_id,
        address=address,
        outcome="refused" if refused else None,
        since=since,
    )
    show_list(page, _COLUMNS, output, nothing="No entries.")


@app.command()
def verify(
    anchor: Annotated[
        str | None, typer.Option("--anchor", metavar="NUMBER:DIGEST", help="An entry, as you noted it elsewhere.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell whether every entry is as it was written, and none is missing.

    Exit status 1 if not. Note what it prints somewhere else: with --anchor, later, it holds all entries up to there.
    """
    found = Client().audit.verify(anchor=anchor)
    show_record(
        found,
        {
            "Intact": "yes" if found.intact else "NO",
            "Broken at": found.broken_at,
            "Reason": found.reason,
            "First entry": found.first,
            "Anchor": f"{found.last}:{found.digest}" if found.intact and found.last else None,
        },
        output,
    )
    if not found.intact:
        say("The audit log was changed, or the database is damaged.")
        raise typer.Exit(FAILED)


@app.command()
def export() -> None:
    """Print all entries in order, one JSON document a line."""
    for block in Client().audit.export():
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
