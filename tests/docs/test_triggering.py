"""The table of ways of triggering says what is true: each option is there where it says so, and only there."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer

from penstock import Client
from penstock.cli import pipelines, runs, templates
from penstock.client.runs import Again, Runs, Start
from penstock.client.snapshots import Snapshots
from penstock.client.templates import Templates

DOCS = Path(__file__).parents[2] / "docs"
COLUMNS = ("preset", "key", "plan", "callback", "wait")
CLI: dict[str, tuple[typer.Typer, str]] = {
    "penstock run-template run": (templates.app, "run"),
    "penstock pipeline run": (pipelines.app, "run"),
    "penstock pipeline snapshot run": (pipelines.snapshot_app, "run"),
    "penstock run replay": (runs.app, "replay"),
    "penstock run replay-many": (runs.app, "replay-many"),
}
SDK: dict[str, Callable[..., Any]] = {
    "client.trigger_pipeline(...)": Client.trigger_pipeline,
    "client.templates.run(...)": Templates.run,
    "client.snapshots.run(...)": Snapshots.run,
    "client.runs.start(...)": Runs.start,
    "client.runs.replay(...)": Runs.replay,
    "client.runs.replay_many(...)": Runs.replay_many,
}


def rows() -> Iterator[tuple[str, dict[str, str]]]:
    for line in (DOCS / "triggering.md").read_text().splitlines():
        if line.startswith("| `"):
            way, _, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            yield way.strip("`"), dict(zip(COLUMNS, cells, strict=True))


TOLD = dict(rows())


def offered(function: Callable[..., Any]) -> set[str]:
    """The keyword arguments of a call, those that are unpacked included."""
    names = set(inspect.signature(function).parameters)
    for kind in (Start, Again):
        if kind.__name__ in str(inspect.signature(function)):
            names |= set(get_type_hints(kind))
    if function is Client.trigger_pipeline:  # in `Trigger`
        names |= {"idempotency_key", "plan_token", "callback_url"}
    return names


def test_every_way_is_in_the_table() -> None:
    spec = json.loads((DOCS / "openapi.json").read_text())
    starts = {
        f"POST {path}"
        for path, methods in spec["paths"].items()
        if "post" in methods
        and path.endswith(("/runs", "/replay"))
        and "/deployments/" not in path  # a service reports there what it has run
    }
    told = {
        way.replace("{name}", "{reference}").replace("{id}", "{reference}") for way in TOLD if way.startswith("POST")
    }
    assert told == starts
    assert set(CLI) == {way for way in TOLD if way.startswith("penstock ")}
    assert set(SDK) == {way for way in TOLD if way.startswith("client.")}


@pytest.mark.parametrize("way", SDK)
def test_what_python_takes(way: str) -> None:
    cells, names = TOLD[way], offered(SDK[way])
    waits = "synchronous" if "synchronous" in cells["wait"] else "wait"
    for column, option in (
        ("key", "idempotency_key"),
        ("plan", "plan_token"),
        ("callback", "callback_url"),
        ("wait", waits),
    ):
        assert (option in names) == (f"`{option}`" in cells[column]), option


@pytest.mark.parametrize("way", CLI)
def test_what_the_command_line_takes(way: str) -> None:
    app, name = CLI[way]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    cells = " ".join(TOLD[way].values())
    for option in ("--preset", "--idempotency-key", "--while-running", "--plan-token", "--callback-url", "--wait"):
        assert (option in options) == (f"`{option}`" in cells), option
