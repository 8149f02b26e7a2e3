"""The `penstock` command: which verbs there are, and what becomes of errors.

A noun's module is imported when it is called and not before, so help and a wrong command cost next to nothing.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from penstock.cli.failures import EXIT_CODES, FAILED, exit_code, explain, explain_surprise
from penstock.errors import PenstockError
from penstock.version import VERSION

COMMANDS = {
    "up": ("server", "Run the server in the foreground, with an address."),
    "down": ("server", "Stop the server of this machine."),
    "status": ("server", "Say which server is in use, and whether it answers."),
    "server": ("upgrades", "Upkeep of the server's database."),
    "db": ("databases", "Check, copy, upgrade and move the database."),
    "login": ("server", "Use the server at a URL from now on."),
    "logout": ("server", "Use the server of this machine again."),
    "serve": ("serve", "Serve a pipeline in the foreground, for development."),
    "pipeline": ("pipelines", "Run, freeze and list pipelines."),
    "deployment": ("deployments", "Pipelines that are kept warm behind HTTP."),
    "run-template": ("templates", "Names under which pipelines are called."),
    "run": ("runs", "See, follow and cancel runs."),
    "decision": ("decisions", "See what became of each attempt to start a run."),
    "callback": ("callbacks", "See who is told of the ends of runs."),
    "artifact": ("artifacts", "See and download what steps made."),
    "secret": ("secrets", "Secrets of this machine, for steps that need them."),
    "environment": ("environments", "Environments built for what pipelines require."),
    "service-account": ("accounts", "Accounts of machines, and their API keys."),
    "user": ("users", "People, what they may do, and how they get in."),
    "trust": ("trusts", "Let CI jobs in with the tokens of their issuer."),
    "audit": ("audit", "See who did what, and whether the log is whole."),
    "drill": ("drill", "Break an installation on purpose, and count what is lost."),
    "stack": ("stacks", "See what runs use."),
}
"""Command -> the module with its `app`, and its line of help."""


class _Root(TyperGroup):
    """Holds stand-ins that know a line of help; the command itself is loaded when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and _load(str(name)), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (PenstockError, TimeoutError) as error:
            if _debugging():
                raise
            explain(error)
            raise typer.Exit(exit_code(error)) from error


def _load(name: str) -> Any:
    """The command `name`: a whole noun, or one of the commands in a module of several."""
    module, line = COMMANDS[name]
    group = typer.main.get_group(import_module(f"penstock.cli.{module}").app)
    group.help = line
    return group.commands.get(name, group)


def _debugging() -> bool:
    return os.environ.get("PENSTOCK_DEBUG") == "1"


app = typer.Typer(
    cls=_Root,
    rich_markup_mode=None,  # plain help reads well in a pipe, and does not load rich
    no_args_is_help=True,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback(help="Freeze a machine-learning pipeline once, and let anything pull the gate.")
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Nothing happens before the command itself."""


def main() -> None:
    """The entry point of the `penstock` command."""
    try:
        typer.main.get_command(app)(prog_name="penstock")
    except Exception as error:
        if _debugging():
            raise
        explain_surprise(error)
        sys.exit(FAILED)
