"""`penstock trust`: CI jobs and other machines that come with a token of their own issuer, and no secret of ours."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.options import CursorOption, OutputOption, Reference, SizeOption, group
from penstock.cli.output import Column, Output, done, show_list, show_record
from penstock.client.client import Client
from penstock.errors import InvalidInput
from penstock.model.trust import Trust

app = group()

_COLUMNS = (
    Column("NAME", lambda trust: trust.name),
    Column("ISSUER", lambda trust: trust.issuer),
    Column("CONDITIONS", lambda trust: tuple(f"{name}={value}" for name, value in trust.conditions.items())),
    Column("CREATED", lambda trust: trust.created, spare=True),
    Column("ID", lambda trust: trust.id, spare=True),
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A new name.")],
    issuer: Annotated[str, typer.Option("--issuer", help="Who signs, as the tokens have it in `iss`.")],
    audience: Annotated[str, typer.Option("--audience", help="For whom: what `aud` has to be.")],
    account: Annotated[str, typer.Option("--account", help="The service account that they stand for.")],
    claim: Annotated[
        list[str],
        typer.Option("--claim", metavar="NAME=VALUE", help="What else has to be in it; * is anything. Repeatable."),
    ],
    max_lifetime: Annotated[int | None, typer.Option("--max-lifetime", help="In seconds. [default: 3600]")] = None,
    single_use: Annotated[bool, typer.Option("--single-use", help="Each is exchanged once, by its `jti`.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have tokens of an issuer stand for a service account."""
    conditions = {}
    for text in claim:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise InvalidInput(f"--claim {text}: write NAME=VALUE, for example repository=me/models.")
        conditions[key] = value
    made = Client().trusts.create(
        name,
        issuer=issuer,
        audience=audience,
        account=account,
        conditions=conditions,
        max_lifetime=max_lifetime,
        single_use=single_use or None,
    )
    show_record(made, _fields(made), output)


@app.command("list")
def list_trusts(size: SizeOption = 20, cursor: CursorOption = None, output: OutputOption = Output.TABLE) -> None:
    """List whose tokens are trusted."""
    show_list(Client().trusts.list(size=size, cursor=cursor), _COLUMNS, output, nothing="No trusts.")


@app.command()
def show(trust: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show a trust."""
    found = Client().trusts.get(trust)
    show_record(found, _fields(found), output)


@app.command()
def delete(trust: Reference, output: OutputOption = Output.TABLE) -> None:
    """Trust no more, from now on."""
    Client().trusts.delete(trust)
    done(f"Trust {trust} is removed.", {"deleted": trust}, output)


def _fields(trust: Trust) -> dict[str, object]:
    return {
        "Trust": trust.name,
        "ID": trust.id,
        "Issuer": trust.issuer,
        "Audience": trust.audience,
        "Conditions": tuple(f"{name}={value}" for name, value in trust.conditions.items()),
        "Account": trust.account_id,
        "Longest": f"{trust.max_lifetime} s",
        "Single use": "yes" if trust.single_use else None,
        "Created": trust.created,
    }
