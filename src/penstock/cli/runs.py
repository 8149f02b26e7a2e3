"""`penstock run`: see, follow and cancel runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from penstock.cli.inputs import collect
from penstock.cli.options import (
    AddOption,
    CallbackUrlOption,
    ConfigOption,
    CursorOption,
    KeyOption,
    OutputOption,
    ParamOption,
    PipelineFilter,
    Reference,
    RemoveOption,
    RunNameOption,
    SizeOption,
    StepParamOption,
    TagFilter,
    WaitOption,
    WordsFilter,
    group,
)
from penstock.cli.output import (
    Column,
    Output,
    done,
    literal,
    say,
    show_json,
    show_list,
    show_record,
    show_rows,
    text,
    took,
)
from penstock.cli.progress import conclude, launched, outcome, watch
from penstock.client import configuration
from penstock.client.client import Client
from penstock.client.page import LARGEST_PAGE
from penstock.client.runs import LONGEST_WAIT, Where
from penstock.model.bulk import Outcome
from penstock.model.configuration import said
from penstock.model.run import LogLine, Run

app = group()


def _template(run: Run) -> str | None:
    return f"{run.template_name}@v{run.template_version}" if run.template_name else None


_COLUMNS = (
    Column("NAME", lambda run: run.name),
    Column("STATE", lambda run: run.state),
    Column("PIPELINE", lambda run: run.pipeline_name),
    Column("TEMPLATE", _template, spare=True),
    Column("CREATED", lambda run: run.created),
    Column("TOOK", lambda run: took(run.started, run.ended)),
    Column("ID", lambda run: run.id, spare=True),
)

_STEP_COLUMNS = (
    Column("STEP", lambda step: step.step),
    Column("STATE", lambda step: step.state),
    Column("TOOK", lambda step: took(step.started, step.ended)),
    Column("OUTPUTS", lambda step: tuple(f"{name}={artifact}" for name, artifact in step.outputs.items())),
    Column(
        "NOTE", lambda step: step.error.message if step.error else step.reason or (step.cache and step.cache.reason)
    ),
)


_CHILD_COLUMNS = (
    Column("RUN STARTED HERE", lambda run: run.name),
    Column("BY STEP", lambda run: run.cause.parent_step),
    Column("STATE", lambda run: run.state),
    Column("PIPELINE", lambda run: run.pipeline_name),
    Column("TOOK", lambda run: took(run.started, run.ended)),
)


StateFilter = Annotated[list[str], typer.Option("--state", help="In this state. May be given repeatedly.")]
TemplateFilter = Annotated[str | None, typer.Option("--template", help="Of this run template.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say which runs are meant, and do nothing.")]

_BLOCKER_COLUMNS = (
    Column("WHAT", lambda one: one.kind),
    Column("WHY", lambda one: one.detail),
    Column("SINCE", lambda one: one.since),
    Column("HELD BY", lambda one: tuple(holder.name for holder in one.holders)),
)
_OUTCOME_COLUMNS = (
    Column("RUN", lambda one: one.name),
    Column("NOW", lambda one: one.state),
    Column("PROBLEM", lambda one: one.problem),
    Column("ID", lambda one: one.run_id, spare=True),
)
_CHANGE_COLUMNS = (
    Column("WHAT", lambda change: change.subject),
    Column("NAME", lambda change: change.name),
    Column("CHANGE", lambda change: change.kind),
    Column("DETAIL", lambda change: change.detail),
)
_DIFFERENCE_COLUMNS = (
    Column("WHAT", lambda one: one.topic),
    Column("NAME", lambda one: one.name),
    Column("BEFORE", lambda one: literal(one.before)),
    Column("AFTER", lambda one: literal(one.after)),
    Column("NOTE", lambda one: one.note, spare=True),
)


@app.command("list")
def list_runs(
    state: StateFilter = [],  # noqa: B006  (Typer copies it)
    pipeline: PipelineFilter = None,
    template: TemplateFilter = None,
    tag: TagFilter = [],  # noqa: B006
    search: WordsFilter = None,
    account: Annotated[str | None, typer.Option("--account", help="That this account had started.")] = None,
    after: Annotated[datetime | None, typer.Option("--after", help="Created at this time or later (UTC).")] = None,
    before: Annotated[datetime | None, typer.Option("--before", help="Created before this time (UTC).")] = None,
    size: SizeOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List runs, newest first."""
    where = Where(state=state, pipeline=pipeline, template=template, tag=tag, q=search, account=account)
    moments = {"created_after": after, "created_before": before}
    where |= {name: at.replace(tzinfo=UTC) for name, at in moments.items() if at is not None}  # type: ignore[typeddict-item]
    page = Client().runs.list(size=size, cursor=cursor, **where)
    show_list(page, _COLUMNS, output, nothing="No runs.")


@app.command()
def show(run: Reference, output: OutputOption = Output.TABLE) -> None:
    """Show a run: its values, its steps, its outputs."""
    client = Client()
    found = client.runs.get(run)
    show_record(found, _fields(found), output)
    if output is Output.TABLE:
        steps = client.runs.steps(found)
        if steps:
            typer.echo()
            show_rows(steps, _STEP_COLUMNS)
        children = client.runs.list(parent_run_id=found.id, size=LARGEST_PAGE)
        if children.items:
            typer.echo()
            show_rows(children, _CHILD_COLUMNS)


@app.command()
def steps(run: Reference, output: OutputOption = Output.TABLE) -> None:
    """List the steps of a run."""
    found = Client().runs.steps(run)
    if output is Output.JSON:
        show_json({"items": found})
    else:
        show_rows(found, _STEP_COLUMNS)


@app.command()
def logs(
    run: Reference,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    step: Annotated[str | None, typer.Option("--step", help="Only the lines of this step.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what a run has written.

    Oldest first; as JSON, one object on each line.
    """
    client, after = Client(), 0
    while True:
        page = client.runs.logs(run, step, after=after, wait=LONGEST_WAIT if follow else None)
        for line in page.lines:
            typer.echo(msgspec.json.encode(line) if output is Output.JSON else _line(line, prefixed=step is None))
        if page.ended or not (page.lines or follow):
            return
        after = page.next


@app.command()
def replay(
    run: Reference,
    param: ParamOption = [],  # noqa: B006  (Typer copies it)
    step_param: StepParamOption = [],  # noqa: B006  (Typer copies it)
    config: ConfigOption = None,
    from_failure: Annotated[
        bool, typer.Option("--from-failure", help="Take over the results of steps that ended well.")
    ] = False,
    from_step: Annotated[
        str | None, typer.Option("--from-step", help="Take over results, but for this step and all that hang on it.")
    ] = None,
    template: Annotated[str | None, typer.Option("--template", help="On this version: NAME@vN, NAME@ALIAS.")] = None,
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="On this snapshot.")] = None,
    run_name: RunNameOption = None,
    idempotency_key: KeyOption = None,
    callback_url: CallbackUrlOption = None,
    wait: WaitOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a run like this one, with the values that are given here in the place of its own."""
    client = Client()
    before = client.runs.get(run)
    given = collect(
        lambda: client.snapshots.get(before.snapshot_id).content,
        params=param,
        step_params=step_param,
        config=config,
        run_name=run_name,
    )
    started = client.runs.replay(
        before,
        template=template,
        snapshot_id=snapshot,
        from_failure=from_failure,
        from_step=from_step,
        idempotency_key=idempotency_key,
        callback_url=callback_url,
        **given,
    )
    launched(client, started, output, wait=wait)


@app.command()
def cancel(
    run: Reference,
    children: Annotated[
        bool, typer.Option("--children/--no-children", help="Also the runs that its steps have started.")
    ] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask a run to stop."""
    found = Client().runs.cancel(run, children=children)
    show_record(found, {"Run": found.name, "ID": found.id, "State": found.state}, output)


@app.command("cancel-many")
def cancel_many(
    state: StateFilter = [],  # noqa: B006  (Typer copies it)
    pipeline: PipelineFilter = None,
    template: TemplateFilter = None,
    tag: TagFilter = [],  # noqa: B006
    search: WordsFilter = None,
    everything: Annotated[bool, typer.Option("--all", help="Every run that has not ended.")] = False,
    dry_run: DryRunOption = False,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Cancel all runs that fit and have not ended."""
    where = Where(state=state, pipeline=pipeline, template=template, tag=tag, q=search)
    _show_outcome(
        Client().runs.cancel_many(dry_run=dry_run, everything=everything, cursor=cursor, **where), "cancelled", output
    )


@app.command("replay-many")
def replay_many(
    state: StateFilter = [],  # noqa: B006  (Typer copies it)
    pipeline: PipelineFilter = None,
    template: TemplateFilter = None,
    tag: TagFilter = [],  # noqa: B006
    search: WordsFilter = None,
    config: ConfigOption = None,
    from_failure: Annotated[
        bool, typer.Option("--from-failure", help="Take over the results of steps that ended well.")
    ] = False,
    version: Annotated[str | None, typer.Option("--on", metavar="NAME@vN", help="On this version instead.")] = None,
    idempotency_key: KeyOption = None,
    dry_run: DryRunOption = False,
    cursor: CursorOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a run like each of those that fit and have ended."""
    where = Where(state=state, pipeline=pipeline, template=template, tag=tag, q=search)
    given = configuration.as_arguments(configuration.checked(configuration.read(config))) if config else {}
    done = Client().runs.replay_many(
        where,
        dry_run=dry_run,
        from_failure=from_failure,
        template=version,
        cursor=cursor,
        idempotency_key=idempotency_key,
        **given,
    )
    _show_outcome(done, "replayed", output)


@app.command()
def why(run: Reference, output: OutputOption = Output.TABLE) -> None:
    """Say what a run waits for and who holds it, or why it ended as it did."""
    found = Client().runs.why(run)
    if output is Output.JSON:
        show_json(found)
        return
    typer.echo(f"{found.run} is {found.state}. {text(found.summary)}")
    if found.blockers:
        show_rows(found.blockers, _BLOCKER_COLUMNS)
        for advice in dict.fromkeys(one.advice for one in found.blockers if one.advice):
            say(advice)


@app.command()
def diff(
    run: Reference,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The run to hold against it: a name or an id.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what is different in another run."""
    found = Client().runs.diff(run, other)
    if output is Output.JSON:
        show_json(found)
        return
    if found.versions:
        show_rows(found.versions, _CHANGE_COLUMNS)
        typer.echo()
    if found.differences:
        show_rows(found.differences, _DIFFERENCE_COLUMNS)
    elif not found.versions:
        say("Nothing is different.")


@app.command()
def tag(
    run: Reference,
    add: AddOption = [],  # noqa: B006  (Typer copies it)
    remove: RemoveOption = [],  # noqa: B006
    output: OutputOption = Output.TABLE,
) -> None:
    """Put tags on a run, or take them off, whether it has ended or not."""
    noted = Client().runs.annotate(run, add_tags=add, remove_tags=remove)
    done(f"Run {noted.name} has the tags: {', '.join(noted.tags) or 'none'}.", {"tags": noted.tags}, output)


@app.command()
def delete(run: Reference, output: OutputOption = Output.TABLE) -> None:
    """Delete an ended run.

    Its steps, logs and history go; what it made stays until `penstock artifact prune`.
    """
    Client().runs.delete(run)
    done(f"Run {run} is deleted.", {"deleted": run}, output)


@app.command()
def wait(
    run: Reference,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Watch a run until it has ended.

    The exit status tells whether it completed.
    """
    client = Client()
    if timeout is not None:
        conclude(client.runs.wait(run, timeout), output)
        return
    found = client.runs.get(run)
    conclude(found if found.state.terminal else watch(client, found), output)


def _show_outcome(outcome: Outcome, deed: str, output: Output) -> None:
    """Print what became of each run; the exit status is 1 if one of them refused."""
    refused = [one for one in outcome.items if one.problem]
    if output is Output.JSON:
        show_json(outcome)
    else:
        if outcome.items:
            show_rows(outcome.items, _OUTCOME_COLUMNS)
        words = "would be" if outcome.dry_run else "were"
        say(f"{len(outcome.items) - len(refused)} of {outcome.matched} runs that fit {words} {deed}.")
        if outcome.next is not None:
            say(f"There are more than one request takes: go on with --cursor {outcome.next}")
    if refused:
        raise typer.Exit(1)


def _line(line: LogLine, *, prefixed: bool) -> str:
    words = text(line.text)  # nothing that somebody printed is obeyed by this terminal
    return f"{text(line.step)} | {words}" if prefixed and line.step else words


def _fields(run: Run) -> dict[str, Any]:
    cause = run.cause
    parent = f", from step {cause.parent_step} of run {cause.parent_run_id}" if cause.parent_run_id else ""
    return {
        "Run": run.name,
        "ID": run.id,
        "State": run.state,
        "Reason": None if run.error else run.reason,
        "Pipeline": run.pipeline_name,
        "Template": _template(run),
        "Snapshot": run.snapshot_id,
        "Started by": f"{cause.account} ({cause.kind}{parent})",
        "Replay of": cause.replay_of,
        "Copy of": cause.mirror_of,
        "Tags": run.tags,
        "Configuration": json.dumps(said(run.configuration), ensure_ascii=False) if said(run.configuration) else None,
        "Metadata": run.metadata,
        "Created": run.created,
        "Started": run.started,
        "Ended": run.ended,
        "Took": took(run.started, run.ended),
        "Parameters": "\n".join(_parameters(run)),
        "Outputs": outcome(run),
        "Error": (run.error.traceback or f"{run.error.type}: {run.error.message}") if run.error else None,
    }


def _parameters(run: Run) -> list[str]:
    """Every effective value with where it came from."""
    from_pipeline = [(name, value, f"/parameters/{name}") for name, value in run.parameters.items()]
    from_steps = [
        (f"{step}.{name}", value, f"/steps/{step}/parameters/{name}")
        for step, values in run.step_parameters.items()
        for name, value in values.items()
    ]
    return [
        f"{text(name)} = {literal(value)}  ({run.origins.get(at, 'default')})"
        for name, value, at in from_pipeline + from_steps
    ]
