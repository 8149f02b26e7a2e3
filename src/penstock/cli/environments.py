"""`penstock environment`: the environments of this machine, built for pipelines that require what is not there."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec
import typer

from penstock.cli.options import OutputOption, Reference, group
from penstock.cli.output import Column, Output, done, duration, say, show_json, show_record, show_rows
from penstock.cli.templates import content_of
from penstock.client.client import Client
from penstock.errors import EnvironmentFailed
from penstock.ids import is_id
from penstock.runtime.environments import Environments, Kept
from penstock.settings import Settings

app = group()

_COLUMNS = (
    Column("ENVIRONMENT", lambda one: one.digest[:12]),
    Column("PYTHON", lambda one: one.python),
    Column("REQUIRES", lambda one: one.requires.packages),
    Column("SIZE", lambda one: f"{one.size / 1e6:.1f} MB"),
    Column("USED", lambda one: one.used),
    Column("NOW", lambda one: "in use" if one.in_use else ""),
)


@app.command("list")
def list_environments(output: OutputOption = Output.TABLE) -> None:
    """List environments, the latest used first."""
    _show(_kept().all(), output)


@app.command()
def show(
    environment: Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="Its digest, or how that begins.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show an environment: what it was built for, and what is installed in it."""
    found = _kept().named(environment)
    fields = {
        "Environment": found.digest,
        "Python": found.python,
        "Requires": found.requires.packages,
        "Required Python": found.requires.python,
        "Installed": "\n".join(found.packages),
        "Built": found.built,
        "Took": duration(found.seconds),
        "Used": found.used,
        "In use": found.in_use,
        "Executable": _kept().executable(found.digest),
    }
    show_record(found, fields, output)


@app.command()
def build(template: Reference, output: OutputOption = Output.TABLE) -> None:
    """Build what a template or snapshot requires.

    On this machine and before a run has to wait for it. NAME is a template (train, train@v7, train@prod) or the id of a
    snapshot.
    """
    from penstock.runtime.builder import prepare  # uv and its surroundings, which listing does not need

    client = Client()
    content = client.snapshots.get(template).content if is_id(template) else content_of(client, template)
    if content.environment.requires is None:
        done(f"{content.pipeline} requires nothing.", {"built": False, "environment": None}, output)
        return
    components = client.stacks.get(content.stack).components
    outcome = prepare(str(Settings.load().home), content.environment, components)
    if outcome.failure is not None:
        for line in outcome.lines:
            say(line)
        raise EnvironmentFailed(outcome.failure)
    built = outcome.built
    if built is None:
        words = "The Python that its runs use has what it requires."
    else:
        words = f"Environment {built.digest[:12]} {'is built' if outcome.fresh else 'was there'}."
    result = {"built": outcome.fresh, "environment": None if built is None else msgspec.to_builtins(built)}
    done(words, result, output)


@app.command()
def prune(
    unused_days: Annotated[
        float, typer.Option("--unused-days", min=0, help="Only what nobody has used for so long.")
    ] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would go.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove environments that nobody uses.

    One that is in use never goes, and one that is needed later is built again.
    """
    gone = _kept().prune(timedelta(days=unused_days), rehearse=dry_run)
    _show(gone, output)
    if output is Output.TABLE:
        say("Nothing was removed: this was a rehearsal." if dry_run else f"{len(gone)} removed.")


def _kept() -> Environments:
    return Environments(Settings.load().home)


def _show(found: list[Kept], output: Output) -> None:
    if output is Output.JSON:
        show_json({"items": msgspec.to_builtins(found)})
    else:
        show_rows(found, _COLUMNS)
