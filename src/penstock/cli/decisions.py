"""`penstock decision`: what became of each attempt to start a run."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.options import CursorOption, OutputOption, SizeOption, group
from penstock.cli.output import Column, Output, show_list
from penstock.client.client import Client

app = group()

_COLUMNS = (
    Column("AT", lambda one: one.at),
    Column("BECAME", lambda one: one.verdict),
    Column("TARGET", lambda one: one.target),
    Column("BY", lambda one: f"{one.account} ({one.kind})"),
    Column("RUN", lambda one: one.run_name),
    Column("WHY", lambda one: one.detail),
    Column("ID", lambda one: one.id, spare=True),
)


@app.callback()
def decision() -> None:
    """What became of each attempt to start a run."""


@app.command("list")
def list_decisions(
    verdict: Annotated[
        str | None, typer.Option("--verdict", help="started, joined, replayed, replaced or refused.")
    ] = None,
    template: Annotated[str | None, typer.Option("--template", help="Only those of this run template.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Only those that led to the run with this id.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Only those of this account.")] = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List attempts to start a run, refused ones too, newest first."""
    page = Client().decisions.list(
        size=size, cursor=cursor, verdict=verdict, template=template, run_id=run, account=account
    )
    show_list(page, _COLUMNS, output, nothing="Nobody has tried.")
