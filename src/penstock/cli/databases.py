"""`penstock db`: upkeep of the database of this home, also while no server runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.failures import FAILED
from penstock.cli.options import OutputOption, group
from penstock.cli.output import Column, Output, say, show_json, show_record, show_rows
from penstock.errors import InvalidInput
from penstock.model.database import Backup, Condition, Move
from penstock.model.upgrade import Rehearsal
from penstock.model.wire import reader

app = group()

_CHECKED = (
    Column("VERSION", lambda row: f"{row[0].template}@v{row[0].version}"),
    Column("CALLED", lambda row: row[0].reached_as),
    Column("STATE", lambda row: row[1].severity if row[1] else "runs"),
    Column("WHY", lambda row: row[1].message if row[1] else None),
)

_FLAWS = (
    Column("PART", lambda flaw: flaw.part),
    Column("STATE", lambda flaw: flaw.severity),
    Column("WHAT", lambda flaw: flaw.message),
)

_BESIDES = (Column("BESIDES", lambda one: one.where), Column("", lambda one: one.what))


@app.command()
def upgrade(
    check: Annotated[
        bool, typer.Option("--check", help="Say what this release makes of every template in use; change nothing.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring the database of this home up to this release of Penstock.

    The server does so too when it starts. The exit status of --check is 1 if a template in use would not run.
    """
    found = reader(Rehearsal)(_done("upgrade", *(["--check"] if check else [])))
    if output is Output.JSON:
        show_json(found)
    else:
        show_rows([(one, finding) for one in found.checked for finding in one.findings or (None,)], _CHECKED)
        words = "has" if found.schema_now == found.schema_then else "would get" if check else "got"
        before = "" if words == "has" else f", in place of {found.schema_now or 'none'}"
        say(f"The database {words} schema {found.schema_then}, that of Penstock {found.release}{before}.")
    if check and found.broken:
        raise typer.Exit(FAILED)


@app.command()
def check(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every artifact too, and hold it against its digest.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell whether the database is sound, and whether all that belongs to it is there.

    The schema, the file itself, references, every value, the audit log, code archives, artifacts. Nothing is changed, and a
    server may run meanwhile. Exit status 1 if something is broken, or could not be looked at.
    """
    found = reader(Condition)(_done("check", *(["--deep"] if deep else [])))
    if output is Output.JSON:
        show_json(found)
    else:
        show_rows(found.flaws, _FLAWS)
        say(f"Looked at {', '.join(found.looked_at)}; {found.rows} rows in {found.database}.")
        say("It is sound." if found.sound else "It is NOT sound.")
    if not found.sound:
        raise typer.Exit(FAILED)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A file that is not there yet.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Copy the database into a new file, while the server goes on.

    It holds one moment, is checked, and only its owner can read it. What it does not hold is listed: copy that after it.
    """
    found = reader(Backup)(_done("backup", "--", str(target)))
    if output is Output.JSON:
        show_json(found)
        return
    show_record(
        found, {"Backup": found.target, "Bytes": found.size, "Schema": found.schema, "Of": found.database}, output
    )
    say("It does not hold what follows: copy that after it, and to restore put everything back in its place.")
    show_rows(found.besides, _BESIDES)


@app.command()
def move(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET_URL", help="postgresql+psycopg://user@host/name, or - to read it from stdin."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do all of it, and take it back.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take everything along into another, empty database: SQLite to PostgreSQL, or back.

    Ids, history, times and the audit log stay as they are. No server may run. Set PENSTOCK_DATABASE_URL to the same URL
    afterwards. Keep passwords out of the command line: PGPASSWORD or ~/.pgpass, or - and stdin.
    """
    url = sys.stdin.readline().strip() if target == "-" else target
    if not url:
        raise InvalidInput("The URL of a database is needed.")
    found = reader(Move)(_done("move", *(["--dry-run"] if dry_run else []), given=url))
    if output is Output.JSON:
        show_json(found)
        return
    show_rows(
        [one for one in found.rows.items() if one[1]],
        (Column("TABLE", lambda one: one[0]), Column("ROWS", lambda one: one[1])),
    )
    total = sum(found.rows.values())
    if found.dry_run:
        say(f"{total} rows would go from {found.source} to {found.target}. All was taken back: this was a rehearsal.")
        return
    say(f"{total} rows went from {found.source} to {found.target}, and were read again there.")
    if found.set_aside is not None:
        say(f"The old database is {found.set_aside} now.")
    say("Set PENSTOCK_DATABASE_URL to the new one for every server and every command on this machine.")


def _done(verb: str, *arguments: str, given: str = "") -> bytes:
    """What the upkeep of the database printed; it has said on stderr why it could not, and this command ends like it."""
    # Another program: this one never imports the server. -P: no file of the current directory is taken for a module.
    command = [sys.executable, "-P", "-m", "penstock.server.databases", verb, *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, input=given.encode(), check=False)
    if ended.returncode:
        raise typer.Exit(ended.returncode)
    return ended.stdout
