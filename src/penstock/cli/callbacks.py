"""`penstock callback`: who is told of the ends of runs, how far that has come, and the secret that receivers need."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.options import CursorOption, OutputOption, SizeOption, group
from penstock.cli.output import Column, Output, say, show_json, show_list, show_record
from penstock.client.client import Client
from penstock.model.callback import Callback, CallbackSecret

app = group()

_COLUMNS = (
    Column("ID", lambda one: one.id),
    Column("STATE", lambda one: one.state),
    Column("TRIES", lambda one: one.attempts),
    Column("ANSWER", lambda one: one.status),
    Column("NEXT TRY", lambda one: one.next_try),
    Column("URL", lambda one: one.url),
    Column("PROBLEM", lambda one: one.problem),
    Column("RUN", lambda one: one.run_id, spare=True),
)

CallbackId = Annotated[str, typer.Argument(metavar="ID", help="The id of a callback.")]


@app.command("list")
def list_callbacks(
    run: Annotated[str | None, typer.Option("--run", help="Only those of this run (name or id).")] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="waiting, pending, sending, delivered or dead (given up).")
    ] = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List who is told of the ends of runs, newest first."""
    client = Client()
    run_id = None if run is None else client.runs.get(run).id
    page = client.callbacks.list(size=size, cursor=cursor, run_id=run_id, state=state)
    show_list(page, _COLUMNS, output, nothing="Nobody is told.")


@app.command()
def show(callback: CallbackId, output: OutputOption = Output.TABLE) -> None:
    """Show a callback: its tries, the last answer, the next try."""
    found = Client().callbacks.get(callback)
    show_record(found, _fields(found), output)


@app.command()
def redeliver(callback: CallbackId, output: OutputOption = Output.TABLE) -> None:
    """Send a callback again now, under the same id."""
    due = Client().callbacks.redeliver(callback)
    show_record(due, _fields(due), output)


@app.command()
def secret(output: OutputOption = Output.TABLE) -> None:
    """Print the secret that receivers check signatures with."""
    _show_secret(Client().callbacks.secret(), output)


@app.command("rotate-secret")
def rotate_secret(
    retain_minutes: Annotated[
        float | None,
        typer.Option("--retain-minutes", min=0, help="How long the one before signs as well. [default: a day]"),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make another secret.

    It is all that is printed on stdout.
    """
    made = Client().callbacks.rotate_secret(retain_minutes=retain_minutes)
    _show_secret(made, output)
    if made.previous_until is not None:
        say(f"Until {made.previous_until.astimezone():%Y-%m-%d %H:%M} the one before signs as well.")


def _show_secret(found: CallbackSecret, output: Output) -> None:
    if output is Output.JSON:
        show_json(found)
    else:
        typer.echo(found.secret)


def _fields(callback: Callback) -> dict[str, object]:
    return {
        "Callback": callback.id,
        "Run": callback.run_id,
        "URL": callback.url,
        "State": callback.state,
        "Tries": callback.attempts,
        "Answer": callback.status,
        "Problem": callback.problem,
        "Last try": callback.tried,
        "Next try": callback.next_try,
        "Created": callback.created,
        "Ended": callback.ended,
    }
