"""`penstock stack`: see what runs use."""

from __future__ import annotations

from penstock.cli.options import CursorOption, OutputOption, Reference, SizeOption, group
from penstock.cli.output import Column, Output, show_list, show_record, text
from penstock.client.client import Client
from penstock.model.stack import Component

app = group()

_COLUMNS = (
    Column("NAME", lambda stack: stack.name),
    Column("COMPONENTS", lambda stack: tuple(f"{kind}={one.flavor}" for kind, one in stack.components.items())),
    Column("CREATED", lambda stack: stack.created, spare=True),
    Column("ID", lambda stack: stack.id, spare=True),
)


@app.command("list")
def list_stacks(size: SizeOption = 20, cursor: CursorOption = None, output: OutputOption = Output.TABLE) -> None:
    """List stacks."""
    show_list(Client().stacks.list(size=size, cursor=cursor), _COLUMNS, output, nothing="No stacks.")


@app.command()
def show(stack: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show a stack: its components with their options."""
    found = Client().stacks.get(stack)
    components = {kind: _component(one) for kind, one in found.components.items()}
    show_record(found, {"Stack": found.name, "ID": found.id, **components, "Created": found.created}, output)


def _component(component: Component) -> str:
    return f"{component.flavor} {text(component.options) if component.options else ''}".rstrip()
