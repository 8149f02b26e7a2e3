"""`penstock service-account`: accounts of machines, and their API keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, cast

import typer

from penstock.cli.options import CursorOption, DescriptionOption, OutputOption, Reference, SizeOption, group
from penstock.cli.output import Column, Output, done, say, show_json, show_list, show_record
from penstock.client.client import Client
from penstock.errors import InvalidInput
from penstock.model.account import Account, NewApiKey, Role

app = group()
keys_app = group()
app.add_typer(keys_app, name="api-key", help="The keys of a service account.")

COLUMNS = (
    Column("NAME", lambda account: account.name),
    Column("ROLE", lambda account: account.role),
    Column("ACTIVE", lambda account: "yes" if account.active else "no"),
    Column("CREATED", lambda account: account.created),
    Column("ID", lambda account: account.id, spare=True),
)

_KEY_COLUMNS = (
    Column("NAME", lambda key: key.name),
    Column("ACTIVE", lambda key: "yes" if key.active else "no"),
    Column("FOR", lambda key: (*(key.scopes or ()), *(key.templates or ())) or "all", spare=True),
    Column("CREATED", lambda key: key.created),
    Column("EXPIRES", lambda key: key.expires or "never"),
    Column("LAST USED", lambda key: key.last_used or "never"),
    Column("ID", lambda key: key.id, spare=True),
)

AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The name or id of a service account.")]
KeyName = Annotated[str, typer.Argument(metavar="KEY", help="The name or id of one of its keys.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="A new name.")]
GrantOption = Annotated[
    list[str],
    typer.Option("--grant", metavar="TEMPLATE=ROLE", help="Its role on one run template. May be given repeatedly."),
]


@app.command()
def create(
    name: NewName,
    role: Annotated[
        Role, typer.Option("--role", help="What it may do: each role includes the ones before.")
    ] = "operator",
    grant: GrantOption = [],  # noqa: B006  (typer copies it)
    description: DescriptionOption = None,
    create_api_key: Annotated[bool, typer.Option("--create-api-key", help="Make a first key, 'default'.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a service account."""
    client = Client()
    account = client.accounts.create(name, role=role, grants=grants_of(grant) or None, description=description)
    if not create_api_key:
        show_record(account, fields_of(account), output)
        return
    made = client.accounts.create_key(account.id, "default")
    show_record({"account": account, "api_key": made}, {**fields_of(account), "API key": made.key}, output)
    say("The key is shown this once. Keep it where secrets are kept.")


@app.command("list")
def list_accounts(size: SizeOption = 20, cursor: CursorOption = None, output: OutputOption = Output.TABLE) -> None:
    """List service accounts."""
    page = Client().accounts.list(size=size, cursor=cursor)
    show_list(page, COLUMNS, output, nothing="No service accounts.")


@app.command()
def show(account: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show a service account."""
    found = Client().accounts.get(account)
    show_record(found, fields_of(found), output)


@app.command()
def change(
    account: Reference,
    role: Annotated[Role | None, typer.Option("--role", help="What it may do everywhere.")] = None,
    grant: GrantOption = [],  # noqa: B006  (typer copies it)
    no_grants: Annotated[bool, typer.Option("--no-grants", help="Take all its grants away first.")] = False,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Whether its keys are good.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a service account another role, further grants, or another state.

    It holds at its next request.
    """
    accounts = Client().accounts
    grants = grants_then(grant, no_grants, lambda: accounts.get(account))
    changed = accounts.change(account, role=role, grants=grants, active=active)
    show_record(changed, fields_of(changed), output)


@app.command()
def delete(account: Reference, output: OutputOption = Output.TABLE) -> None:
    """Delete a service account and its keys."""
    Client().accounts.delete(account)
    done(f"Service account {account} is deleted.", {"deleted": account}, output)


@keys_app.command("create")
def create_key(
    account: AccountName,
    name: NewName,
    expires_in_days: Annotated[float | None, typer.Option("--expires-in-days", help="Default: never.")] = None,
    scope: Annotated[
        list[str], typer.Option("--scope", metavar="VERB[:NOUN]", help="Good for this only. May be given repeatedly.")
    ] = [],  # noqa: B006  (typer copies it)
    template: Annotated[
        list[str], typer.Option("--template", help="Good for this run template only. May be given repeatedly.")
    ] = [],  # noqa: B006  (typer copies it)
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a key, as good as its account or narrower.

    Its text is all that is printed on stdout, this once.
    """
    made = Client().accounts.create_key(
        account, name, expires_in_days=expires_in_days, scopes=scope or None, templates=template or None
    )
    _show_key(made, output)


@keys_app.command("list")
def list_keys(
    account: AccountName, size: SizeOption = 20, cursor: CursorOption = None, output: OutputOption = Output.TABLE
) -> None:
    """List the keys of an account."""
    page = Client().accounts.keys(account, size=size, cursor=cursor)
    show_list(page, _KEY_COLUMNS, output, nothing="No keys.")


@keys_app.command("revoke")
def revoke_key(account: AccountName, key: KeyName, output: OutputOption = Output.TABLE) -> None:
    """Make a key stop working for good."""
    Client().accounts.revoke_key(account, key)
    done(f"Key {key} of {account} is revoked.", {"account": account, "revoked": key}, output)


@keys_app.command("rotate")
def rotate_key(
    account: AccountName,
    key: KeyName,
    retain_minutes: Annotated[
        float | None,
        typer.Option("--retain-minutes", help="How long the old text goes on working. Default: not at all."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a key a new text.

    The new text is all that is printed on stdout, this once.
    """
    _show_key(Client().accounts.rotate_key(account, key, retain_minutes=retain_minutes), output)


def _show_key(made: NewApiKey, output: Output) -> None:
    if output is Output.JSON:
        show_json(made)
    else:
        typer.echo(made.key)
    say("The key is shown this once. Keep it where secrets are kept.")


def grants_of(given: Sequence[str]) -> dict[str, Role]:
    """`TEMPLATE=ROLE`, each; whether there is such a role is for the server to say."""
    grants: dict[str, Role] = {}
    for text in given:
        template, sign, role = text.rpartition("=")
        if not sign or not template:
            raise InvalidInput(f"--grant {text}: write TEMPLATE=ROLE, for example train=operator.")
        grants[template] = cast(Role, role)
    return grants


def grants_then(given: Sequence[str], none_before: bool, known: Callable[[], Account]) -> dict[str, Role] | None:
    """The grants that an account has when these are added to those it has, or to none; None if that changes nothing."""
    if not given and not none_before:
        return None
    return {**({} if none_before else known().grants), **grants_of(given)}


def fields_of(account: Account, noun: str = "Service account") -> dict[str, object]:
    """What is shown of an account."""
    return {
        noun: account.name,
        "ID": account.id,
        "Role": account.role,
        "Grants": tuple(f"{template}={role}" for template, role in account.grants.items()),
        "Active": "yes" if account.active else "no",
        "Description": account.description,
        "Created": account.created,
    }
