"""What commands print: results on stdout, as a table or as JSON; everything said about them on stderr."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import typer

from penstock.client.page import Page
from penstock.model.cost import Cost

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_UNBOUNDED = 1_000_000
"""Columns of a pipe: a row is a line there, whatever its length."""

_COLOURS = {
    "completed": "green",
    "cached": "green",
    "running": "cyan",
    "starting": "cyan",
    "failed": "red",
    "cancelled": "yellow",
    "cancelling": "yellow",
    "retrying": "yellow",
}

# What a terminal would obey instead of showing it: names and values may come from anybody.
_CONTROL = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if chr(code) not in "\t\n"}


class Output(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True)
class Column:
    """One column of a list. The `spare` ones are left out, last first, where the terminal is too narrow for all."""

    title: str
    value: Callable[[Any], Any]
    spare: bool = False


def show_json(value: Any) -> None:
    """Print records as the API has them, indented."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def show_list(page: Page[Any], columns: Sequence[Column], output: Output, *, nothing: str = "Nothing found.") -> None:
    """Print one page of a list, and on stderr how to see the next."""
    if output is Output.JSON:
        show_json(page)
        return
    show_rows(page.items, columns)
    if not page.items:
        say(nothing)
    elif page.next:
        say(f"{len(page)} of {page.total or 'many'}. The next ones: --cursor {page.next}")


def show_rows(items: Iterable[Any], columns: Sequence[Column]) -> None:
    """Print a table with a row for each item; nothing, not even the head, if there are none."""
    rows = list(items)
    if not rows:
        return
    console, shown = stdout(), list(columns)
    unbounded = console.options.update(width=_UNBOUNDED)
    while console.measure(_table(rows, shown), options=unbounded).maximum > console.width:
        spare = [column for column in shown if column.spare]
        if not spare:
            break
        shown.remove(spare[-1])
    _print(console, _table(rows, shown))


def show_record(record: Any, fields: Mapping[str, Any], output: Output) -> None:
    """Print one record: as it is in JSON, or the given fields with their values; empty ones are left out."""
    if output is Output.JSON:
        show_json(record)
        return
    from rich.table import Table  # heavy: loaded when something is printed

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value not in (None, "", (), {}, []):
            table.add_row(_cell(name), _cell(value))
    _print(stdout(), table)


def done(words: str, result: dict[str, Any], output: Output) -> None:
    """Say what was done; with JSON, `result` says it on stdout for programs."""
    say(words)
    if output is Output.JSON:
        show_json(result)


def say(text: str = "") -> None:
    """Tell people something; scripts that read stdout never see it."""
    typer.echo(text, err=True)


def command(*words: str) -> str:
    """A command of ours that can be typed as it is printed, whatever the names in it."""
    return shlex.join(["penstock", *words])


def stdout() -> Console:
    """The console of results. In a pipe nothing is wrapped or cut, and there are no colours."""
    return _console(sys.stdout)


def stderr() -> Console:
    """The console of progress."""
    return _console(sys.stderr)


def text(value: Any) -> str:
    """A value as people read it: local time, JSON for what has a structure, nothing for nothing."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, str):
        return value.translate(_CONTROL)
    if isinstance(value, (tuple, list)) and all(isinstance(one, str) for one in value):
        return text(", ".join(value))
    if isinstance(value, (bool, dict, list, tuple)):
        return literal(value)
    return str(value)


def literal(value: Any) -> str:
    """A JSON value as people write it: a string as it is, anything else as JSON, so that nothing looks like nothing."""
    if isinstance(value, str):
        return text(value)
    return json.dumps(value, ensure_ascii=False, default=str).translate(_CONTROL)


def line(value: Any) -> str:
    """The same, on one line."""
    return " ".join(text(value).split("\n")).strip()


def took(started: datetime | None, ended: datetime | None) -> str:
    """The time between two moments, in the two largest units; empty if either is not known."""
    if started is None or ended is None:
        return ""
    return duration((ended - started).total_seconds())


def duration(seconds: float) -> str:
    """A number of seconds in the two largest units that say something."""
    seconds = max(seconds, 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def colour(state: str) -> str:
    """The colour of a state."""
    return _COLOURS.get(state, "")


def _console(file: TextIO) -> Console:
    from rich.console import Console  # heavy: loaded when something is printed

    return Console(
        file=file,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=None if file.isatty() else _UNBOUNDED,
    )


def _table(rows: Sequence[Any], columns: Sequence[Column]) -> Table:
    from rich.table import Table  # heavy: loaded when something is printed

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.title, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(column.value(row), one_line=True) for column in columns))
    return table


def _cell(value: Any, *, one_line: bool = False) -> Text:
    from rich.text import Text  # heavy: loaded when something is printed

    style = colour(value) if isinstance(value, StrEnum) else ""
    return Text(line(value) if one_line else text(value).rstrip("\n"), style=style)


def _print(console: Console, table: Table) -> None:
    """Print without the blanks at line ends, which a terminal hides and a pipe does not."""
    with console.capture() as captured:
        console.print(table)
    typer.echo("\n".join(row.rstrip() for row in captured.get().splitlines()), color=console.is_terminal)


def amount(cost: Cost) -> str:
    """A sum of money, with as many places as it needs to be more than nothing."""
    places = 2 if cost.amount == 0 or cost.amount >= 0.01 else 6
    return f"{cost.amount:.{places}f} {cost.currency}"
