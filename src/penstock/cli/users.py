"""`penstock user`: people, and how they get in."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from penstock.cli.accounts import COLUMNS, GrantOption, fields_of, grants_of, grants_then
from penstock.cli.options import CursorOption, OutputOption, Reference, SizeOption, group
from penstock.cli.output import Output, done, say, show_json, show_list, show_record
from penstock.client.client import Client
from penstock.client.users import Invitation
from penstock.errors import InvalidInput
from penstock.model.account import Role

app = group()


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A new name.")],
    role: Annotated[
        Role, typer.Option("--role", help="What they may do: each role includes the ones before.")
    ] = "viewer",
    grant: GrantOption = [],  # noqa: B006  (typer copies it)
    description: Annotated[str | None, typer.Option("--description", "-d", help="Who it is.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make an account for a person.

    The code that they activate it with is all that is printed on stdout, this once.
    """
    made = Client().users.invite(name, role=role, grants=grants_of(grant) or None, description=description)
    _show_code(made, output)


@app.command("list")
def list_users(size: SizeOption = 20, cursor: CursorOption = None, output: OutputOption = Output.TABLE) -> None:
    """List people."""
    show_list(Client().users.list(size=size, cursor=cursor), COLUMNS, output, nothing="No people.")


@app.command()
def show(user: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show a person's account."""
    found = Client().users.get(user)
    show_record(found, fields_of(found, "Person"), output)


@app.command()
def change(
    user: Reference,
    role: Annotated[Role | None, typer.Option("--role", help="What they may do everywhere.")] = None,
    grant: GrantOption = [],  # noqa: B006  (typer copies it)
    no_grants: Annotated[bool, typer.Option("--no-grants", help="Take all their grants away first.")] = False,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Whether they get in.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a person another role, further grants, or another state.

    It holds at their next request.
    """
    users = Client().users
    grants = grants_then(grant, no_grants, lambda: users.get(user))
    changed = users.change(user, role=role, grants=grants, active=active)
    show_record(changed, fields_of(changed, "Person"), output)


@app.command()
def delete(user: Reference, output: OutputOption = Output.TABLE) -> None:
    """Remove a person's account with its sessions and keys."""
    Client().users.delete(user)
    done(f"The account of {user} is removed.", {"deleted": user}, output)


@app.command()
def reset(user: Reference, output: OutputOption = Output.TABLE) -> None:
    """Make a code with which a person gives themselves another password.

    It is all that is printed on stdout, this once.
    """
    _show_code(Client().users.reset(user), output)


@app.command()
def activate(
    url: Annotated[str | None, typer.Option("--url", help="The server. Default: the one that is in use.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the first account, with the server's own code.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give an account its password, with a code.

    The code and the password are asked for; from a pipe, they are two lines. They never stand in the list of processes.
    """
    code = _asked("Code", hide=False)
    if name is None and sys.stdin.isatty():
        name = typer.prompt("Name (for the first account; empty otherwise)", default="", err=True, show_default=False)
    password = _asked("Password", hide=True)
    account = Client(url).users.activate(code, password, name=name or None)
    words = f"{account.name} has a password now. Log in: penstock login {url or 'URL'}"
    done(words, {"name": account.name, "role": account.role}, output)


def _asked(what: str, *, hide: bool) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=hide, confirmation_prompt=hide, err=True)).strip()
    text = sys.stdin.readline().rstrip("\n")
    if not text:
        raise InvalidInput(f"The {what.lower()} is expected on stdin, on a line of its own.")
    return text


def _show_code(made: Invitation, output: Output) -> None:
    if output is Output.JSON:
        show_json(made)
    else:
        typer.echo(made.code)
    say(f"{made.account.name} activates with it: penstock user activate --url URL. It is good once, for a day.")
