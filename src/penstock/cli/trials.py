"""`penstock deployment mirror`, `canary` and what follows them: what may be served next, tried beside what is served."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from penstock.cli.options import OutputOption, Reference, TimeoutOption, group
from penstock.cli.output import Output, done, say, show_record
from penstock.client.client import Client
from penstock.client.deployments import PATIENCE
from penstock.model.likeness import Comparing
from penstock.model.trial import Place, Rule, Side, Trial, TrialReport

app = group()

SnapshotOption = Annotated[
    str | None, typer.Option("--snapshot", help="What is tried, by name or id; by default the latest of the pipeline.")
]


@app.command()
def mirror(
    deployment: Reference,
    snapshot: SnapshotOption = None,
    share: Annotated[float, typer.Option("--share", min=0, max=1, help="Of the requests that are copied.")] = 0.1,
    tolerance: Annotated[float, typer.Option("--tolerance", min=0, help="By which numbers may differ: a share.")] = 0.0,
    ignore: Annotated[
        list[str], typer.Option("--ignore", help="A JSON pointer that is not compared: /outputs/at. * is any index.")
    ] = [],  # noqa: B006  (Typer copies it)
    timeout: TimeoutOption = PATIENCE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a candidate copies of requests, and compare its answers, which no caller sees.

    Its steps are carried out for real: what they do outside is done twice.
    """
    trials = Client().trials
    comparing = Comparing(tolerance=tolerance, ignore=tuple(ignore))
    made = trials.mirror(deployment, snapshot=snapshot, share=share, comparing=comparing)
    _show(trials.wait(deployment, timeout) if timeout else made, output)


@app.command()
def canary(
    deployment: Reference,
    snapshot: SnapshotOption = None,
    weight: Annotated[
        float, typer.Option("--weight", min=0, max=1, help="Share of the requests that the candidate answers.")
    ] = 0.1,
    max_errors: Annotated[
        float, typer.Option("--max-errors", min=0, max=1, help="Share that may fail, beyond what failed before.")
    ] = 0.05,
    min_requests: Annotated[int, typer.Option("--min-requests", min=1, help="Without which nothing is decided.")] = 20,
    window: Annotated[float, typer.Option("--window", min=1, help="Seconds that are looked back.")] = 60.0,
    max_slowdown: Annotated[
        float | None,
        typer.Option("--max-slowdown", help="How many times as long its requests may take, in the median."),
    ] = None,
    timeout: TimeoutOption = PATIENCE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have a candidate answer a share of the requests; if it fails more often, it is rolled back by itself."""
    trials = Client().trials
    rule = Rule(max_error_rate=max_errors, min_requests=min_requests, window=window, max_slowdown=max_slowdown)
    made = trials.canary(deployment, snapshot=snapshot, share=weight, rule=rule)
    _show(trials.wait(deployment, timeout) if timeout else made, output)


@app.command()
def trial(deployment: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show how a mirror or a canary stands, or how the last one ended."""
    found = Client().trials.get(deployment)
    show_record(found, _fields(found.trial) | _figures(found), output)
    if output is Output.TABLE and found.examples:
        say("\nThe latest answers that differ:")
        for one in found.examples[-5:]:
            for place in one.variances[:3]:
                say(f"  {place.pointer}: {place.first!r} -> {place.candidate!r}  {place.note or ''}".rstrip())
            say(f"    runs {one.run_id} -> {one.candidate_run_id}")


@app.command()
def weight(
    deployment: Reference,
    share: Annotated[float, typer.Argument(min=0, max=1, help="Of the requests; 0: none for now.", show_default=False)],
    output: OutputOption = Output.TABLE,
) -> None:
    """Give the candidate of a mirror or a canary another share of the requests."""
    _show(Client().trials.set_share(deployment, share), output)


@app.command()
def promote(deployment: Reference, timeout: TimeoutOption = PATIENCE, output: OutputOption = Output.TABLE) -> None:
    """Make the candidate the deployment's next revision."""
    found = Client().trials.promote(deployment, timeout=timeout or None)
    told = {"promoted": found.snapshot_id, "revision": found.revision}
    done(f"{found.name} serves snapshot {found.snapshot_id} as revision {found.revision}.", told, output)


@app.command()
def abort(deployment: Reference, output: OutputOption = Output.TABLE) -> None:
    """End a mirror or a canary: what served before answers everything."""
    _show(Client().trials.abort(deployment), output)


def _show(trial: Trial, output: Output) -> None:
    show_record(trial, _fields(trial), output)


def _fields(trial: Trial) -> dict[str, Any]:
    return {
        "Trial": trial.id,
        "Kind": trial.kind,
        "State": trial.state,
        "Why": trial.reason,
        "Snapshot": trial.snapshot_id,
        "Share": f"{trial.share:.1%}",
        "Companion": trial.companion_id,
    }


def _figures(found: TrialReport) -> dict[str, Any]:
    fields: dict[str, Any] = {"Served before": _side(found.first), "Candidate": _side(found.candidate)}
    if found.trial.kind == "mirror":
        fields |= {
            "Compared": found.compared,
            "Different": f"{found.different} ({found.share_different:.1%})",
            "Not copied": found.dropped,
        }
        fields |= {f"  {name}": _place(place) for name, place in found.places.items()}
    else:
        fields["Refused by it alone"] = found.refused
    return {**fields, "Not reached": found.unreachable}


def _place(place: Place) -> str:
    return f"{place.count}" + ("" if place.largest is None else f", by {place.largest:.2g} of the larger at most")


def _side(side: Side) -> str:
    times = "" if side.p50 is None or side.p95 is None else f", half in {side.p50:.3g} s, 95% in {side.p95:.3g} s"
    return f"{side.requests} requests, {side.errors} failed ({side.error_rate:.1%}){times}"
