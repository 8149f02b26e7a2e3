"""`penstock artifact`: see and download what steps made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.options import CursorOption, OutputOption, SizeOption, group
from penstock.cli.output import Column, Output, say, show_json, show_list, show_record, show_rows, text
from penstock.client.client import Client
from penstock.errors import ArtifactError, Conflict
from penstock.model.artifact import Artifact, Lineage

app = group()

_COLUMNS = (
    Column("ID", lambda artifact: artifact.id),
    Column("STEP", lambda artifact: artifact.step),
    Column("OUTPUT", lambda artifact: artifact.output),
    Column("NAME", lambda artifact: _name(artifact), spare=True),  # noqa: PLW0108  (it is defined below)
    Column("TYPE", lambda artifact: artifact.type),
    Column("SIZE", lambda artifact: _bytes(artifact.size)),
    Column("CREATED", lambda artifact: artifact.created, spare=True),
)

ArtifactId = Annotated[str, typer.Argument(metavar="ID", help="An id, NAME (its latest version), or NAME@VERSION.")]


@app.command("list")
def list_artifacts(
    run: Annotated[str | None, typer.Option("--run", help="Only those of this run (id or name).")] = None,
    step: Annotated[str | None, typer.Option("--step", help="Only those of this step.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only the versions of this name.")] = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List artifacts, newest first."""
    client = Client()
    run_id = client.runs.get(run).id if run else None
    show_list(client.artifacts.list(run_id=run_id, step=step, name=name, size=size, cursor=cursor), _COLUMNS, output)


@app.command()
def show(artifact: ArtifactId, output: OutputOption = Output.TABLE) -> None:
    """Show an artifact and its files."""
    found = Client().artifacts.get(artifact)
    fields = {
        "Artifact": found.id,
        "Name": _name(found),
        "Tags": found.tags,
        "Type": found.type,
        "Run": found.run_id,
        "Step": found.step,
        "Output": found.output,
        "Size": _bytes(found.size),
        "Files": "\n".join(f"{one.name}  {_bytes(one.size)}" for one in found.files),
        "Saved by": found.materializer,
        "Runs code when loaded": "yes" if found.code_bearing else "no",
        "Metadata": found.metadata,
        "Noted": found.user_metadata,
        "Created": found.created,
    }
    show_record(found, fields, output)


@app.command()
def lineage(
    artifact: ArtifactId,
    depth: Annotated[int, typer.Option("--depth", min=1, max=20, help="How many steps back.")] = 5,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show where an artifact comes from, and who used it."""
    client = Client()
    found = client.artifacts.lineage(artifact)
    if output is Output.JSON:
        show_json(found)
        return
    typer.echo("\n".join(_ancestry(client, found, depth)))
    rows = [use for use in found.used if use.kind != "output" or use.run_id != found.artifact.run_id]
    typer.echo(f"\nUsed {len(rows)} times." if rows else "\nNobody has used it.")
    show_rows(rows, _USE_COLUMNS)


@app.command()
def prune(
    older_than_days: Annotated[float, typer.Option("--older-than-days", min=0, help="Only what is older.")] = 1.0,
    named: Annotated[bool, typer.Option("--named", help="Also artifacts with a name.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would go.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove what nobody refers to.

    Artifacts that stand in no run go, those with a name only with --named; then files that no artifact has. Nothing younger
    than an hour ever goes.
    """
    found = Client().artifacts.prune(older_than_days=older_than_days, named=named, dry_run=dry_run)
    fields = {
        "Artifacts": str(found.artifacts),
        "Files": f"{found.blobs} ({_bytes(found.bytes)})",
    }
    show_record(found, fields, output)
    if output is Output.TABLE:
        say("Nothing was removed: this was a rehearsal." if dry_run else "They are removed.")


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
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            client.artifacts.download(found, name, target)
        except OSError as error:
            raise ArtifactError(f"{target} cannot be written: {error.strerror}.") from error
    if output is Output.JSON:
        show_json({name: str(target) for name, target in targets.items()})
        return
    for target in targets.values():
        typer.echo(str(target))
    if found.code_bearing:
        say("It is a pickle: loading it runs the code in it. Do so only if you trust the run that made it.")


_USE_COLUMNS = (
    Column("RUN", lambda use: use.run_id),
    Column("STEP", lambda use: use.step),
    Column("AS", lambda use: f"{use.kind} {use.name}"),
)


def _ancestry(client: Client, found: Lineage, depth: int, indent: str = "") -> Iterator[str]:
    """One line for the artifact, and below it those of everything that went into it."""
    one = found.artifact
    made = f"output {one.output} of step {one.step} in run {one.run_id}" if one.run_id else "made by no run"
    yield f"{indent}{text(_name(one) or one.id)}  {text(one.type)}, {_bytes(one.size)}, {text(made)}"
    if found.made_from and depth <= 1:
        yield f"{indent}  ... ({len(found.made_from)} more; --depth shows them)"
        return
    for use in found.made_from:
        yield from _ancestry(client, client.artifacts.lineage(use.artifact_id, limit=1), depth - 1, indent + "  ")


def _name(artifact: Artifact) -> str | None:
    return f"{artifact.name}@{artifact.version}" if artifact.name else None


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
