"""`penstock drill`: break an installation on purpose, and see what that costs."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from penstock.cli.options import OutputOption, group
from penstock.cli.output import Column, Output, say, show_json, show_rows
from penstock.drill.drill import Report, Wanted, drill
from penstock.drill.faults import FAULTS, impossible
from penstock.errors import InvalidInput, fault

app = group()

_MEANINGS = {
    "lost": "promised, and not kept",
    "doubled": "done more than once",
    "stuck": "without an end or an answer",
    "leaked": "processes, descriptors, files, slots that are left",
    "wrong": "ends and answers that nothing explains",
}


@app.command("drill")
def command(
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long things are broken.")] = 60,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Break the same things as the drill with this seed.")
    ] = None,
    faults: Annotated[str, typer.Option("--faults", help="What is broken, with commas between. [default: all]")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Keep what was written down even if all is well.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Break an installation of this Penstock, and count what is lost, doubled, stuck and leaked.

    It has a home of its own, and leaves yours alone. While clients trigger, cancel and look, it kills and freezes
    processes; a witness outside notes what steps do, and at the end everybody's word is held against everybody's.
    The exit status is 1 if a promise was not kept.
    """
    wanted = Wanted(
        seconds=seconds, seed=secrets.randbelow(1_000_000) if seed is None else seed, faults=_chosen(faults)
    )
    say(f"Seed {wanted.seed}; faults: {', '.join(wanted.faults)}.")
    report = drill(wanted, keep=keep, say=lambda words: say(f"... {words}"))
    if output is Output.JSON:
        show_json(report)
    else:
        _show(report)
    if not report.passed:
        raise typer.Exit(1)


def _chosen(faults: str) -> list[str]:
    missing = impossible()
    for name, why in missing.items():
        say(f"Without '{name}': {why}.")
    names = [one.strip() for one in faults.split(",") if one.strip()] or [one for one in FAULTS if one not in missing]
    if cannot := [one for one in names if one in missing]:
        raise InvalidInput(f"The fault '{cannot[0]}' cannot be had here: {missing[cannot[0]]}.")
    if unknown := [one for one in names if one not in FAULTS]:
        raise InvalidInput(
            f"There is no fault '{unknown[0]}'.", errors=[fault("/faults", "It is not known.", allowed=list(FAULTS))]
        )
    return names


def _show(report: Report) -> None:
    broken = ", ".join(f"{name} {times}" for name, times in sorted(report.faults.items())) or "nothing"
    ended = ", ".join(f"{number} {state}" for state, number in sorted(report.runs.items()))
    say(
        f"{report.database}, {report.seconds:.0f} s. Broken: {broken}; the server was back within {report.slowest_return} s."
    )
    say(f"{report.sendings} sendings, {report.unanswered} unanswered; {report.promised} runs promised: {ended}.")
    rows = [(kind, report.counts[kind], _MEANINGS[kind]) for kind in report.counts]
    show_rows(
        rows, (Column("", lambda row: row[0]), Column("FOUND", lambda row: row[1]), Column("", lambda row: row[2]))
    )
    for finding in report.findings[:20]:
        where = "".join(
            [f" order {finding.order}" if finding.order else "", f" run {finding.run_id}" if finding.run_id else ""]
        )
        say(f"{finding.kind}:{where} {finding.what}")
    if len(report.findings) > 20:
        say(f"... and {len(report.findings) - 20} more.")
    if report.kept:
        say(f"What happened is written down in {report.kept}.")
    say(
        "Every promise was kept."
        if report.passed
        else f"Promises were broken. Again: penstock drill --seed {report.seed}"
    )
