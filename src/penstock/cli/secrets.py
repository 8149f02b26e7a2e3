"""`penstock secret`: the secrets of this machine. Their values are never printed."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from penstock.cli.options import OutputOption, group
from penstock.cli.output import Column, Output, done, show_json, show_rows
from penstock.errors import Unavailable
from penstock.settings import Settings
from penstock.stack.flavors.secret_files import SecretFiles

app = group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the secret.")]


@app.command("set")
def set_secret(
    name: Name,
    values: Annotated[
        list[str], typer.Argument(metavar="KEY[=VALUE]...", help="Without =VALUE it is asked for, or read from stdin.")
    ],
    output: OutputOption = Output.TABLE,
) -> None:
    """Set keys of a secret.

    Steps get it as environment variables (secrets=["NAME"]), and as {{NAME.KEY}} wherever a reference is taken.
    """
    given = dict(_pair(one) for one in values)
    _store().set(name, given)
    done(f"Secret {name} has {', '.join(given)}.", {"name": name, "keys": sorted(given)}, output)


@app.command("list")
def list_secrets(output: OutputOption = Output.TABLE) -> None:
    """List secrets with their keys."""
    store = _store()
    found = [_described(store, name) for name in store.names()]
    if output is Output.JSON:
        show_json({"items": found})
    else:
        keys = Column("KEYS", lambda one: one["error"] or tuple(one["keys"]))
        show_rows(found, (Column("NAME", lambda one: one["name"]), keys))


@app.command()
def delete(name: Name, output: OutputOption = Output.TABLE) -> None:
    """Delete a secret."""
    _store().remove(name)
    done(f"Secret {name} is deleted.", {"deleted": name}, output)


def _store() -> SecretFiles:
    return SecretFiles(Settings.load().shared_directory / "secrets")


def _described(store: SecretFiles, name: str) -> dict[str, Any]:
    """One secret for the list: one that cannot be read must not hide the others."""
    try:
        return {"name": name, "keys": sorted(store.get(name)), "error": None}
    except Unavailable as error:
        return {"name": name, "keys": [], "error": error.detail}


def _pair(given: str) -> tuple[str, str]:
    key, found, value = given.partition("=")
    if found:
        return key, value
    if sys.stdin.isatty():
        return key, str(typer.prompt(key, hide_input=True, err=True))
    return key, sys.stdin.readline().rstrip("\n")
