"""`penstock drill`: break an installation on purpose, and see what that costs."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import Annotated

import typer

from penstock.cli.options import OutputOption, group
from penstock.cli.output import Column, Output, say, show_json, show_rows
from penstock.drill.database import at
from penstock.drill.drill import Report, Wanted, drill
from penstock.drill.faults import FAULTS, impossible
from penstock.errors import InvalidInput, fault
from penstock.settings import Settings

app = group()

_MEANINGS = {
    "lost": "promised, and not kept",
    "doubled": "done more than once",
    "stuck": "without an end or an answer",
    "leaked": "processes, descriptors, files, slots that are left",
    "wrong": "ends and answers that nothing explains",
}

_COUNTS = (
    Column("FOUND", lambda row: row[0]),
    Column("TIMES", lambda row: row[1]),
    Column("MEANING", lambda row: row[2], spare=True),
)
_SHOWN = 20


@app.command("drill")
def command(
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long things are broken.")] = 60,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Break the same things as the drill with this seed.")
    ] = None,
    faults: Annotated[str, typer.Option("--faults", help="What is broken, with commas between. [default: all]")] = "",
    servers: Annotated[
        int, typer.Option("--servers", min=1, max=8, help="So many servers on one PostgreSQL database.")
    ] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Keep what was written down even if all is well.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Break an installation of this Penstock, and count what is lost, doubled, stuck and leaked.

    It has a home of its own, and leaves yours alone; with PENSTOCK_DATABASE_URL, a database of its own on that server. While clients trigger, cancel and look, it kills and freezes
    processes; a witness outside notes what steps do, and at the end everybody's word is held against everybody's.
    The exit status is 1 if a promise was not kept.
    """
    if servers > 1 and not Settings.load().database_url:
        raise InvalidInput("Several servers need PostgreSQL: set PENSTOCK_DATABASE_URL.")
    with closing(at(Settings.load().database_url)) as database:
        chosen = secrets.randbelow(1_000_000) if seed is None else seed
        wanted = Wanted(seconds=seconds, seed=chosen, faults=_chosen(faults, impossible(database)), servers=servers)
        say(f"Drill on {database.name}, seed {wanted.seed}; faults: {', '.join(wanted.faults)}.")
        report = drill(wanted, database, keep=keep, say=lambda words: say(f"... {words}"))
    if output is Output.JSON:
        show_json(report)
    else:
        show(report)
    if not report.passed:
        raise typer.Exit(1)


def _chosen(faults: str, missing: dict[str, str]) -> list[str]:
    names = [one.strip() for one in faults.split(",") if one.strip()]
    if unknown := [one for one in names if one not in FAULTS]:
        raise InvalidInput(
            f"There is no fault '{unknown[0]}'.", errors=[fault("/faults", "It is not known.", allowed=list(FAULTS))]
        )
    if cannot := [one for one in names if one in missing]:
        raise InvalidInput(f"The fault '{cannot[0]}' cannot be had here: {missing[cannot[0]]}.")
    if not names:
        for name, why in missing.items():
            say(f"Without '{name}': {why}.")
    return names or [one for one in FAULTS if one not in missing]


def show(report: Report) -> None:
    """Print how a drill went: what was done, what was found, and the verdict."""
    ended = ", ".join(f"{number} {state}" for state, number in sorted(report.runs.items()))
    say(
        f"{report.sendings} sendings, {report.unanswered} of them unanswered; {report.promised} runs promised: {ended}."
    )
    broken = ", ".join(f"{name} {times}" for name, times in sorted(report.faults.items())) or "nothing"
    back = f"; a server was back after {report.slowest_return} s at most" if report.slowest_return else ""
    say(f"Broken in {report.seconds:.0f} s: {broken}{back}.")
    show_rows([(kind, report.counts[kind], _MEANINGS[kind]) for kind in report.counts], _COUNTS)
    for finding in report.findings[:_SHOWN]:
        order = f"order {finding.order}: " if finding.order else ""
        run = f" (run {finding.run_id})" if finding.run_id else ""
        say(f"{finding.kind}: {order}{finding.what}{run}")
    if len(report.findings) > _SHOWN:
        say(f"... and {len(report.findings) - _SHOWN} more.")
    if report.kept:
        say(f"What happened is written down in {report.kept}.")
    say("Every promise was kept." if report.passed else f"Promises were broken. The seed was {report.seed}.")
