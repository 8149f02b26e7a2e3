"""`penstock artifact`: see and download what steps made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.options import CursorOption, OutputOption, SizeOption, group
from penstock.cli.output import Column, Output, say, show_json, show_list, show_record
from penstock.client.client import Client
from penstock.errors import ArtifactError, Conflict

app = group()

_COLUMNS = (
    Column("ID", lambda artifact: artifact.id),
    Column("STEP", lambda artifact: artifact.step),
    Column("OUTPUT", lambda artifact: artifact.output),
    Column("TYPE", lambda artifact: artifact.type),
    Column("SIZE", lambda artifact: _bytes(artifact.size)),
    Column("CREATED", lambda artifact: artifact.created, spare=True),
)

ArtifactId = Annotated[str, typer.Argument(metavar="ID", help="The id of an artifact.")]


@app.command("list")
def list_artifacts(
    run: Annotated[str | None, typer.Option("--run", help="Only those of this run (id or name).")] = None,
    step: Annotated[str | None, typer.Option("--step", help="Only those of this step.")] = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List artifacts, newest first."""
    client = Client()
    run_id = client.runs.get(run).id if run else None
    show_list(client.artifacts.list(run_id=run_id, step=step, size=size, cursor=cursor), _COLUMNS, output)


@app.command()
def show(artifact: ArtifactId, output: OutputOption = Output.TABLE) -> None:
    """Show an artifact and its files."""
    found = Client().artifacts.get(artifact)
    fields = {
        "Artifact": found.id,
        "Type": found.type,
        "Run": found.run_id,
        "Step": found.step,
        "Output": found.output,
        "Size": _bytes(found.size),
        "Files": "\n".join(f"{one.name}  {_bytes(one.size)}" for one in found.files),
        "Saved by": found.materializer,
        "Runs code when loaded": "yes" if found.code_bearing else "no",
        "Metadata": found.metadata,
        "Created": found.created,
    }
    show_record(found, fields, output)


@app.command()
def download(
    artifact: ArtifactId,
    to: Annotated[Path, typer.Option("--to", help="The directory for its files.")] = Path(),
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that are there.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Download the files of an artifact.

    They are checked against their digests, and their places are printed.
    """
    client = Client()
    found = client.artifacts.get(artifact)
    targets = {file.name: _target(to, file.name, force=force) for file in found.files}
    for name, target in targets.items():
        data = client.artifacts.read(found, name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except OSError as error:
            raise ArtifactError(f"{target} cannot be written: {error.strerror}.") from error
    if output is Output.JSON:
        show_json({name: str(target) for name, target in targets.items()})
        return
    for target in targets.values():
        typer.echo(str(target))
    if found.code_bearing:
        say("It is a pickle: loading it runs the code in it. Do so only if you trust the run that made it.")


def _target(directory: Path, name: str, *, force: bool) -> Path:
    """Where to write the file: below `directory`, whatever its name says, and not over another."""
    target = directory / name
    if not target.resolve().is_relative_to(directory.resolve()):
        raise ArtifactError(f"The file name '{name}' leads out of {directory}: it is not written.")
    if target.exists() and not force:
        raise Conflict(f"{target} is there already. Use --force to replace it, or --to for another directory.")
    return target


def _bytes(size: int) -> str:
    """A size in the largest unit that leaves at least one."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
